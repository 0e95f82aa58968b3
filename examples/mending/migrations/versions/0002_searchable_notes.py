"""The notes, searchable: as alembic revision --autogenerate wrote it."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_embedding(
        "notes",
        "embedding",
        key=["id"],
        source=["title", "body"],
        model="all-MiniLM-L6-v2",
        generation="all-MiniLM-L6-v2@53aa51172d14-hd17f995b/float32/384",
        dimensions=384,
        sparse_dimensions=30522,
        impact_step=0.088,
    )


def downgrade() -> None:
    op.remove_embedding("notes", "embedding")
