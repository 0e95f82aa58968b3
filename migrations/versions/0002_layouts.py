"""Where an embedding's vectors are, and what becomes of them when the text changes."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        ALTER TABLE gte.embedding
            -- The table that holds the vectors: the user's own, or its companion.
            ADD COLUMN vectors regclass,
            ADD COLUMN on_change text NOT NULL DEFAULT 'clear'
    """)
    op.execute("UPDATE gte.embedding SET vectors = relation")
    op.execute("ALTER TABLE gte.embedding ALTER COLUMN vectors SET NOT NULL")


def downgrade() -> None:
    op.execute("DROP VIEW IF EXISTS gte.visible_key_frequency")
    op.execute("ALTER TABLE gte.embedding DROP COLUMN vectors, DROP COLUMN on_change")
