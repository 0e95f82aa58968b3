"""The flush leaves to the workers what the ORM does not know all source columns of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, load_only, mapped_column

from gte_pg.database import Connection, connect, engine, load
from gte_pg.orm import Embedding, Searchable
from tests.conftest import DATA
from tests.tables import broken_rows, rows

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Media(Base):
    __tablename__ = "media"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "media"}  # noqa: RUF012
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str]


class Video(Searchable, Media):
    __mapper_args__ = {"polymorphic_identity": "video"}  # noqa: RUF012
    transcript: Mapped[str | None]
    embedding = Embedding("title", "transcript", model=MODEL)


class Audio(Media):
    __mapper_args__ = {"polymorphic_identity": "audio"}  # noqa: RUF012


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    body: Mapped[str] = mapped_column(deferred=True, deferred_raiseload=True)
    embedding = Embedding("title", "body", model=MODEL)


class Headline(Base):
    __table__ = Article.__table__
    __mapper_args__ = {"include_properties": ["id", "title"]}  # noqa: RUF012


@pytest.fixture
def session(empty_dsn: str) -> Iterator[Session]:
    made = engine(empty_dsn)
    Base.metadata.create_all(made)
    with Session(made) as session:
        session.add_all([Video(id=1, title="a cat"), Article(id=1, title="a cat", body="a mat")])
        session.commit()
        yield session
    made.dispose()


@pytest.fixture
def reader(empty_dsn: str, session: Session) -> Iterator[Connection]:
    with connect(empty_dsn) as connection:
        yield connection


def pending(reader: Connection, table: str) -> list[Any]:
    """Return the keys of the pending rows; all others have the vector of their text."""
    assert broken_rows(reader, load(reader, table).declaration) == 0
    found = f"SELECT id FROM {table} WHERE embedding_pending IS NOT NULL ORDER BY id"
    return [key for (key,) in rows(reader, found)]


def test_a_class_beside_the_one_with_the_embedding(session: Session, reader: Connection) -> None:
    session.add_all([Audio(id=2, title="a dog"), Media(id=3, title="a dog")])
    session.commit()
    assert pending(reader, "media") == [2, 3]
    session.get_one(Video, 1).title = "a dog"
    session.commit()
    assert pending(reader, "media") == [2, 3]


def test_a_class_with_some_of_the_columns(session: Session, reader: Connection) -> None:
    assert pending(reader, "articles") == []
    headline: Any = session.get_one(Headline, 1)
    headline.title = "a dog"
    session.commit()
    assert pending(reader, "articles") == [1]


@pytest.mark.parametrize("options", [(), (load_only(Article.title, raiseload=True),)])
def test_a_column_that_is_not_to_be_loaded(
    session: Session, reader: Connection, options: tuple[Any, ...]
) -> None:
    session.expunge_all()
    session.scalars(sa.select(Article).options(*options)).one().title = "a dog"
    session.commit()
    assert pending(reader, "articles") == [1]
