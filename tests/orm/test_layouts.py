"""What an embedding's options do to a mapped class."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import connect, engine, load, load_all
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.orm import Embedding, Searchable
from gte_pg.sync import count_broken
from tests.conftest import DATA
from tests.tables import drain

MODEL = str(DATA / "golden" / "new_ntk")


class Base(DeclarativeBase):
    pass


class Ticket(Searchable, Base):
    __tablename__ = "tickets"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    state: Mapped[str] = mapped_column(default="open")
    embedding = Embedding("text", model=MODEL, layout="companion", on_change="keep")


class Draft(Searchable, Base):
    __tablename__ = "drafts"
    __table_args__ = ({"schema": "office"},)
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=MODEL, layout="companion")


class Note(Searchable, Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]
    embedding = Embedding("text", model=MODEL, precision="int8")


@pytest.fixture
def database(empty_dsn: str) -> Iterator[sa.Engine]:
    made = engine(empty_dsn)
    with made.begin() as connection:
        connection.execute(sa.schema.CreateSchema("office"))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.mark.parametrize(("kind", "table"), [(Ticket, "tickets"), (Draft, "office.drafts")])
def test_a_companion_is_made_searched_and_dropped_with_its_table(
    empty_dsn: str, database: sa.Engine, kind: type[Ticket | Draft], table: str
) -> None:
    assert "embedding" not in kind.__table__.c
    with Session(database) as session, connect(empty_dsn) as connection:
        session.add_all(kind(id=n, text=f"cat {n}") for n in range(1, 21))
        session.commit()
        registered = load(connection, table)
        assert drain(connection, registered).encoded == 20
        found = session.execute(kind.search("cat 7", limit=3, where=[kind.id > 5])).all()
        assert len(found) == 3
        session.execute(sa.update(kind).where(kind.id == 7).values(text="dog"))
        session.commit()
        assert count_broken(connection, registered) == 0
        still_there = [row.id for row, _ in session.execute(kind.search("cat 7", limit=20)).all()]
        assert (7 in still_there) == (kind is Ticket), "on_change='keep' serves the former vector"
    Base.metadata.drop_all(database)
    with connect(empty_dsn) as connection:
        left = connection.execute(
            "SELECT (SELECT count(*) FROM pg_class WHERE relname LIKE '%s_embedding'), "
            "(SELECT count(*) FROM gte.embedding), "
            "(SELECT count(*) FROM pg_proc WHERE proname LIKE '%_capture')"
        ).fetchone()
        assert left == (0, 0, 0)


def test_tables_are_dropped_in_autocommit_too(database: sa.Engine, empty_dsn: str) -> None:
    Base.metadata.drop_all(database.execution_options(isolation_level="AUTOCOMMIT"))
    with connect(empty_dsn) as connection:
        assert load_all(connection) == []


def test_a_companion_of_another_is_not_taken(database: sa.Engine) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("DROP TABLE tickets CASCADE"))
    with pytest.raises(DatabaseError, match='called "public"."tickets_embedding", which there is'):
        Base.metadata.create_all(database)


def test_precision_is_part_of_the_declaration(empty_dsn: str, database: sa.Engine) -> None:
    with Session(database) as session, connect(empty_dsn) as connection:
        session.add(Note(id=1, text="cat"))
        session.commit()
        registered = load(connection, "notes")
        assert "/int8/" in registered.declaration.generation
        assert count_broken(connection, registered) == 0
        pending = connection.execute("SELECT count(embedding_pending) FROM notes").fetchone()
        assert pending == (0,), "the flush and the worker agree on the hash"
        session.execute(sa.update(Note).values(text="dog"))
        session.commit()
        assert drain(connection, registered).encoded == 1


def test_a_companion_cannot_be_encoded_in_the_flush() -> None:
    with pytest.raises(DeclarationError, match="deferred"):
        Embedding("text", model=MODEL, layout="companion", encode="flush")
