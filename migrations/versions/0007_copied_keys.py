"""How far the keys of a table that had rows are copied to its new companion."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute("""
        -- Whether they still are, and up to which key they were, in their order; NULL: none yet.
        ALTER TABLE gte.embedding
            ADD COLUMN copying boolean NOT NULL DEFAULT false,
            ADD COLUMN copied_to text
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE gte.embedding DROP COLUMN copying, DROP COLUMN copied_to")
