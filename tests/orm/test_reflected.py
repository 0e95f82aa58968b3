"""Tables that are there already, and tables with awkward names."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.automap import automap_base
from sqlalchemy.ext.declarative import DeferredReflection
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import Connection, engine, load
from gte_pg.errors import DeclarationError
from gte_pg.orm import Embedding, Searchable
from gte_pg.sync import count_broken, missing_triggers
from tests.conftest import DATA
from tests.tables import add_embedding

MODEL = str(DATA / "golden" / "new_ntk")


def by_deferred_reflection(made: sa.Engine) -> type[Any]:
    class Base(DeferredReflection, DeclarativeBase):
        __abstract__ = True

    class Article(Searchable, Base):
        __tablename__ = "articles"
        embedding = Embedding("title", model=MODEL)

    Base.prepare(made)
    return Article


def by_automap(made: sa.Engine) -> type[Any]:
    base = automap_base()

    class Article(Searchable, base):  # type: ignore[misc, valid-type]
        __tablename__ = "articles"
        embedding = Embedding("title", model=MODEL)

    base.prepare(autoload_with=made)
    return Article


def by_a_reflected_table(made: sa.Engine) -> type[Any]:
    class Base(DeclarativeBase):
        pass

    class Article(Searchable, Base):
        __table__ = sa.Table("articles", Base.metadata, autoload_with=made)
        embedding = Embedding("title", model=MODEL)

    return Article


def by_a_reflected_table_that_calls_its_columns_otherwise(made: sa.Engine) -> type[Any]:
    class Base(DeclarativeBase):
        pass

    def rename(_inspector: object, _table: object, column: dict[str, Any]) -> None:
        column["key"] = f"my_{column['name']}"

    class Article(Searchable, Base):
        __table__ = sa.Table(
            "articles",
            Base.metadata,
            autoload_with=made,
            listeners=[("column_reflect", rename)],
        )
        id, title, region = __table__.c.my_id, __table__.c.my_title, __table__.c.my_region
        embedding = Embedding("title", model=MODEL)

    return Article


@pytest.fixture
def made(dsn: str) -> Iterator[sa.Engine]:
    made = engine(dsn)
    yield made
    made.dispose()


@pytest.mark.parametrize(
    "declare",
    [
        by_deferred_reflection,
        by_automap,
        by_a_reflected_table,
        by_a_reflected_table_that_calls_its_columns_otherwise,
    ],
    ids=lambda way: way.__name__,
)
def test_a_table_that_is_there_is_mapped_with_its_embedding(
    dsn: str, connection: Connection, made: sa.Engine, declare: Callable[[sa.Engine], type[Any]]
) -> None:
    connection.execute(
        "CREATE TABLE articles (id bigint, title text, region text, PRIMARY KEY (id, region)) "
        "PARTITION BY LIST (region); "
        "CREATE TABLE articles_eu PARTITION OF articles FOR VALUES IN ('eu'); "
        "CREATE TABLE articles_us PARTITION OF articles FOR VALUES IN ('us')"
    )
    registered = add_embedding(dsn, connection, "articles", ("title",), MODEL)
    article = declare(made)
    with Session(made) as session:
        session.add_all(
            [article(id=1, title="cat", region="eu"), article(id=1, title="dog", region="us")]
        )
        session.commit()
        found = session.execute(article.search("cat", where=[article.region == "us"])).all()
        assert [row.title for row, _ in found] == ["dog"]
        assert [row.title for row, _ in session.execute(article.search("dog", limit=1))] == ["dog"]
    pending = "SELECT count(embedding_pending) FROM articles"
    assert connection.execute(pending).fetchone() == (0,)
    assert count_broken(connection, registered) == 0


def test_a_partitioned_table_is_made_with_its_embedding(
    connection: Connection, made: sa.Engine
) -> None:
    class Base(DeclarativeBase):
        pass

    class Event(Searchable, Base):
        __tablename__ = "events"
        __table_args__ = ({"postgresql_partition_by": "LIST (region)"},)
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
        region: Mapped[str] = mapped_column(primary_key=True)
        text: Mapped[str]
        embedding = Embedding("text", model=MODEL)

    Base.metadata.create_all(made)
    connection.execute(
        "CREATE TABLE events_eu PARTITION OF events FOR VALUES IN ('eu'); "
        "CREATE TABLE events_us PARTITION OF events FOR VALUES IN ('us')"
    )
    with Session(made) as session:
        session.add_all(
            Event(id=uuid.UUID(int=n), region=region, text=text)
            for n, (region, text) in enumerate([("eu", "cat"), ("us", "cat"), ("us", "dog")])
        )
        session.commit()
        found = session.scalars(Event.search("cat", where=[Event.region == "us"])).all()
        assert [event.text for event in found] == ["cat", "dog"]
    registered = load(connection, "events")
    assert missing_triggers(connection, registered) == []
    assert count_broken(connection, registered) == 0
    Base.metadata.drop_all(made)


# 63 bytes is what Postgres keeps of a name; objects of the embedding are called after both.
LONG_TABLE, LONG_NAME = "té" * 21, "ñ" * 27


def test_names_as_long_as_they_may_be(connection: Connection, made: sa.Engine) -> None:
    class Base(DeclarativeBase):
        pass

    class Long(Searchable, Base):
        __tablename__ = LONG_TABLE
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

        vars()[LONG_NAME] = Embedding("text", model=MODEL, layout="companion")
        vars()[f"{LONG_NAME}x"] = Embedding("text", model=MODEL)

    Base.metadata.create_all(made)
    for name in (LONG_NAME, f"{LONG_NAME}x"):
        registered = load(connection, f'"{LONG_TABLE}"', name)
        assert missing_triggers(connection, registered) == []
    with Session(made) as session:
        session.add(Long(text="cat"))
        session.commit()
        assert len(session.execute(Long.search("cat", embedding=f"{LONG_NAME}x")).all()) == 1
    Base.metadata.drop_all(made)


def test_a_name_that_postgres_would_cut_is_refused() -> None:
    with pytest.raises(DeclarationError, match="1 to 55 bytes"):
        sa.Table(
            "articles",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("text", sa.Text),
            Embedding("text", name="ñ" * 28, model=MODEL),
        )
    with pytest.raises(DeclarationError, match="64 bytes"):
        sa.Table(
            "t" * 64,
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("text", sa.Text),
            Embedding("text", model=MODEL),
        )
