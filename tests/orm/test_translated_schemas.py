"""A class set of which every tenant has the tables in a schema of his own, by `schema_translate_map`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from gte_pg.database import Connection, connect, engine, load, load_all
from gte_pg.declaration import Layout
from gte_pg.orm import Embedding, Searchable
from gte_pg.sync import count_broken, missing_triggers
from tests.conftest import DATA
from tests.tables import drain

MODEL = str(DATA / "golden" / "new_ntk")

# The second wants quotes of both kinds, and what drivers take for a placeholder.
TENANTS = ["first", """it's "the" 2nd: 100%s"""]


@pytest.fixture(params=[None, "tenant"], ids=["no schema", "a symbolic schema"])
def schema(request: pytest.FixtureRequest) -> str | None:
    named: str | None = request.param
    return named


@pytest.fixture
def article(schema: str | None, layout: Layout) -> Any:
    class Base(DeclarativeBase):
        metadata = sa.MetaData(schema=schema)

    class Article(Searchable, Base):
        __tablename__ = "articles"
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        embedding = Embedding("title", model=MODEL, layout=layout)

    return Article


@pytest.fixture
def tenants(empty_dsn: str, schema: str | None, article: Any) -> Iterator[Sequence[sa.Engine]]:
    """Each has the same ten articles, under other keys than the next."""
    made = engine(empty_dsn)
    engines = [made.execution_options(schema_translate_map={schema: name}) for name in TENANTS]
    for place, (name, tenant) in enumerate(zip(TENANTS, engines, strict=True)):
        with made.begin() as connection:
            connection.execute(sa.schema.CreateSchema(name))
        article.metadata.create_all(tenant)
        with Session(tenant) as session:
            titles = [f"cat {n}" for n in range(1, 11)]
            turned = titles[place:] + titles[:place]
            session.add_all(article(id=n, title=title) for n, title in enumerate(turned, start=1))
            session.commit()
    with connect(empty_dsn) as connection:
        for registered in load_all(connection):
            drain(connection, registered)
    yield engines
    made.dispose()


def answers(tenant: sa.Engine, article: Any) -> list[tuple[str, float]]:
    with Session(tenant) as session:
        cat_7 = session.scalars(sa.select(article).where(article.title == "cat 7")).one()
        beside = [article.title != "cat 7"]
        statements = [
            ask(*what, limit=3, where=where, exact=exact)
            for ask, what in ((article.search, ("cat 7",)), (article.similar, (cat_7,)))
            for where in ([], beside)
            for exact in (False, True)
        ]
        rows = [row for statement in statements for row in session.execute(statement)]
        return [(found.title, score) for found, score in rows]


def test_each_tenant_searches_his_own_rows(tenants: Sequence[sa.Engine], article: Any) -> None:
    first, second = (answers(tenant, article) for tenant in tenants)
    assert len(first) == 24
    assert first == second


def test_the_tables_of_one_tenant_are_dropped_and_those_of_others_stay_as_they_are(
    empty_dsn: str, tenants: Sequence[sa.Engine], article: Any
) -> None:
    article.metadata.drop_all(tenants[0])
    with connect(empty_dsn) as connection:
        (left,) = load_all(connection)
        assert left.declaration.schema == TENANTS[1]
        assert missing_triggers(connection, left) == []
        assert count_broken(connection, left) == 0
    article.metadata.drop_all(tenants[1])
    with connect(empty_dsn) as connection:
        assert _tables(connection) == 0


def test_a_table_without_a_map_is_not_touched_by_dropping_one_with_it(
    empty_dsn: str, tenants: Sequence[sa.Engine], article: Any, schema: str | None
) -> None:
    made = engine(empty_dsn)
    with made.begin() as connection:
        connection.execute(sa.schema.CreateSchema("tenant", if_not_exists=True))
    article.metadata.create_all(made)
    for tenant in tenants:
        article.metadata.drop_all(tenant)
    with connect(empty_dsn) as connection:
        registered = load(connection, f"{schema or 'public'}.articles")
        assert missing_triggers(connection, registered) == []


def _tables(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'articles%'")
    return sum(count for (count,) in row)
