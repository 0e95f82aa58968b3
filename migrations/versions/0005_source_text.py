"""How the text of a row is made of its source columns, where they are not just joined."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        -- Both name the source columns in braces; expression is SQL. At most one of them is there.
        ALTER TABLE gte.embedding
            ADD COLUMN template text,
            ADD COLUMN expression text,
            ADD CONSTRAINT one_text CHECK (num_nonnulls(template, expression) <= 1)
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE gte.embedding DROP COLUMN template, DROP COLUMN expression")
