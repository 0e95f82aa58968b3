"""An application on asyncpg: it writes and searches, and psycopg makes its tables."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gte_pg.database import connect, engine
from gte_pg.errors import DatabaseError
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA


class Base(DeclarativeBase):
    pass


class Note(Searchable, Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=str(DATA / "golden" / "new_ntk"))


@pytest.fixture
def address(empty_dsn: str) -> sa.URL:
    """Where the test's database is, as SQLAlchemy writes it."""
    with engine(empty_dsn).begin() as connection:
        Base.metadata.create_all(connection)
    with connect(empty_dsn) as plain:
        info = plain.info
        return sa.URL.create(
            "postgresql+asyncpg",
            info.user,
            info.password or None,
            database=info.dbname,
            port=info.port,
            query={"host": info.host},
        )


def test_it_writes_and_searches(address: sa.URL) -> None:
    async def application() -> list[str]:
        made = create_async_engine(address)
        async with AsyncSession(made) as session:
            session.add_all([Note(text="a cat"), Note(text="a database")])
            await session.commit()
            found = await session.execute(Note.search("cat", limit=2))
            texts = [note.text for note, _ in found]
        await made.dispose()
        return texts

    assert asyncio.run(application())[0] == "a cat"


@pytest.mark.parametrize("do", ["create_all", "drop_all"])
def test_its_tables_are_made_and_dropped_by_psycopg(address: sa.URL, do: str) -> None:
    async def application() -> None:
        made = create_async_engine(address)
        try:
            async with made.begin() as connection:
                if do == "create_all":
                    await connection.execute(sa.text("DROP TABLE notes CASCADE"))
                await connection.run_sync(getattr(Base.metadata, do))
        finally:
            await made.dispose()

    with pytest.raises(DatabaseError, match=r"asyncpg's: run create_all.* on postgresql\+psycopg"):
        asyncio.run(application())
