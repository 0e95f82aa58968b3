"""The one table: notes, each searchable by what its title and text mean."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gte_pg import Embedding, Searchable

MODEL = "all-MiniLM-L6-v2"

TOPICS = ("Bicycle", "Clothes", "Electrics", "Garden", "House", "Kitchen")


class Base(DeclarativeBase):
    pass


class Note(Searchable, Base):
    __tablename__ = "notes"

    id: Mapped[int] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(index=True)
    title: Mapped[str]
    body: Mapped[str]
    written: Mapped[datetime] = mapped_column(
        sa.DateTime(timezone=True), server_default=sa.func.now()
    )
    embedding = Embedding("title", "body", model=MODEL)
