"""How much of a vector the dense index holds."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
        -- So many leading dimensions; NULL: all of them.
        ALTER TABLE gte.embedding ADD COLUMN index_dimensions int
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE gte.embedding DROP COLUMN index_dimensions")
