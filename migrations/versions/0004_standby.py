"""An embedding that stands by while a model is switched: before it takes over, or after."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        -- Kept in step like any other, and searched only by its name.
        ALTER TABLE gte.embedding ADD COLUMN standby boolean NOT NULL DEFAULT false
    """)


def downgrade() -> None:
    op.execute("ALTER TABLE gte.embedding DROP COLUMN standby")
