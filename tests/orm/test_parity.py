"""One statement, the same rows: a session, an asynchronous session, psycopg with and without asyncio."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo
from sqlalchemy.dialects.postgresql import psycopg as dialect
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from gte_pg.database import connect, engine, load
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA
from tests.postgres import new_database
from tests.tables import drain

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    year: Mapped[int]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey(Author.id))
    author: Mapped[Author] = relationship()
    embedding = Embedding("title", model=MODEL)


class Note(Searchable, Base):
    __tablename__ = "notes"
    region: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=MODEL, layout="companion", storage="halfvec")


TEXTS = ["a cat on a mat", "a dog on a mat", "columns of a database", "un chat", "数据库", "a cat"]
IDS = [uuid.UUID(int=number) for number in range(len(TEXTS))]


def subquery() -> sa.Select[*tuple[Any, ...]]:
    found = Article.search("cat", limit=3).subquery()
    return sa.select(found.c.id, found.c.score).order_by(found.c.score.desc(), found.c.id)


def keys(statement: sa.Select[*tuple[Any, ...]], *columns: Any) -> sa.Select[*tuple[Any, ...]]:
    """The same statement, reduced to what every road can show alike."""
    return statement.with_only_columns(*columns, *list(statement.selected_columns)[-1:])


def article_keys(statement: sa.Select[*tuple[Any, ...]]) -> sa.Select[*tuple[Any, ...]]:
    return keys(statement, Article.id)


def note_keys(statement: sa.Select[*tuple[Any, ...]]) -> sa.Select[*tuple[Any, ...]]:
    return keys(statement, Note.region, Note.number)


STATEMENTS: dict[str, Callable[[], sa.Select[*tuple[Any, ...]]]] = {
    "search": lambda: article_keys(Article.search("a cat", limit=4)),
    "exact": lambda: article_keys(Article.search("a cat", limit=4, exact=True)),
    "tokens only": lambda: article_keys(Article.search("mat", dense_weight=0)),
    "filtered inside": lambda: article_keys(Article.search("cat", where=[Article.year > 2001])),
    "filtered by a join": lambda: article_keys(
        Article.search(
            "cat",
            where=[Article.author_id.in_(sa.select(Author.id).where(Author.name == "Ada"))],
        )
    ),
    "joined outside": lambda: article_keys(
        Article.search("cat").join(Article.author).where(Author.name == "Ada")
    ),
    "subquery": subquery,
    "similar": lambda: article_keys(Article.similar(IDS[0], limit=3)),
    "complete": lambda: article_keys(Article.search("cat", with_parts=True)),
    "companion": lambda: note_keys(Note.search("cat", where=[Note.number > 1])),
    "similar in a companion": lambda: note_keys(Note.similar(("eu", 0), limit=3)),
}


@pytest.fixture(scope="module")
def library(server: str) -> Iterator[str]:
    with new_database(server, "template1") as name:
        dsn = make_conninfo(server, dbname=name)
        _fill(dsn)
        yield dsn


def _fill(dsn: str) -> None:
    made = engine(dsn)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add_all([Author(id=1, name="Ada"), Author(id=2, name="Bob")])
        session.flush()
        session.add_all(
            Article(id=IDS[n], title=text, year=2000 + n, author_id=1 + n % 2)
            for n, text in enumerate(TEXTS)
        )
        session.add_all(Note(region="eu", number=n, text=text) for n, text in enumerate(TEXTS))
        session.commit()
    with connect(dsn) as connection:
        drain(connection, load(connection, "notes"))
    made.dispose()


@pytest.mark.parametrize("name", list(STATEMENTS))
def test_every_road_gives_the_same_rows(library: str, name: str) -> None:
    statement = STATEMENTS[name]()
    compiled = statement.compile(dialect=dialect.dialect())  # type: ignore[no-untyped-call]
    text, parameters = str(compiled).encode(), compiled.params
    made = engine(library)
    with Session(made) as session:
        expected = [tuple(row) for row in session.execute(statement)]
    made.dispose()
    assert expected
    with psycopg.connect(library) as connection:
        # Prepared, it keeps its plan after the fifth time.
        for _ in range(7):
            assert connection.execute(text, parameters, prepare=True).fetchall() == expected

    async def asynchronously() -> list[list[tuple[Any, ...]]]:
        async def connect_async() -> psycopg.AsyncConnection:
            return await psycopg.AsyncConnection.connect(library)

        made = create_async_engine("postgresql+psycopg://", async_creator=connect_async)
        async with AsyncSession(made) as session:
            by_session = [tuple(row) for row in await session.execute(statement)]
        await made.dispose()
        async with await psycopg.AsyncConnection.connect(library) as connection:
            cursor = await connection.execute(text, parameters)
            return [by_session, await cursor.fetchall()]

    assert asyncio.run(asynchronously()) == [expected, expected]
