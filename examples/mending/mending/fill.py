"""Put the notes that come with the example into the database, once: python -m mending.fill"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import sqlalchemy as sa

from mending.database import sessions
from mending.models import Note

NOTES = Path(__file__).with_name("notes.json")


async def fill() -> int:
    """Add the notes where the table is empty; how many. All are encoded together, in the flush."""
    async with sessions().begin() as session:
        if await session.scalar(sa.select(sa.exists(Note.id))):
            return 0
        notes = [Note(**note) for note in json.loads(NOTES.read_text(encoding="utf-8"))]
        session.add_all(notes)
        return len(notes)


if __name__ == "__main__":
    print(f"{asyncio.run(fill())} notes added")
