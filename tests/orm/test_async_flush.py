"""Under asyncio a flush encodes beside the event loop."""

from __future__ import annotations

import asyncio
import threading

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gte_pg.encoder import Encoded, Encoder
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA


class Base(DeclarativeBase):
    pass


class Note(Searchable, Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=str(DATA / "golden" / "new_ntk"))


def test_the_loop_goes_on_while_a_flush_encodes(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding, let_go = threading.Event(), threading.Event()
    original = Encoder.encode

    def held(self: Encoder, texts: list[str], **options: object) -> Encoded:
        encoding.set()
        # Only another task of the loop lets go.
        assert let_go.wait(timeout=60)
        return original(self, texts, **options)  # type: ignore[arg-type]

    async def connect_async() -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(empty_dsn)

    async def application() -> list[tuple[object, ...]]:
        made = create_async_engine("postgresql+psycopg://", async_creator=connect_async)
        async with made.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        monkeypatch.setattr(Encoder, "encode", held)
        async with AsyncSession(made, expire_on_commit=False) as session:
            session.add_all([Note(id=1, text="cat"), Note(id=2, text="dog")])
            commit = asyncio.create_task(session.commit())
            while not encoding.is_set():
                await asyncio.sleep(0.01)
            assert not commit.done()
            let_go.set()
            await commit
            rows = await session.execute(
                sa.text("SELECT id, embedding_pending FROM notes WHERE embedding IS NOT NULL")
            )
            found = [tuple(row) for row in rows]
        await made.dispose()
        return found

    assert sorted(asyncio.run(application())) == [(1, None), (2, None)]
