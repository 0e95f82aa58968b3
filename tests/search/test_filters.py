"""Filters hold inside the search: k rows come back when k match, and they are the best k."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, connect, engine, load
from gte_pg.declaration import Declaration
from gte_pg.encoder import Encoder
from gte_pg.search import Parameters, QueryVectors, Tables, Weights, encode_query, search_statement
from tests.postgres import new_database
from tests.search.articles import (
    QUERIES,
    WEIGHTS,
    Scores,
    Stored,
    executed,
    fill,
    reference,
    stored,
)
from tests.tables import add_embedding, drain

CheckBest = Callable[..., None]

_COLUMNS = "id likes deleted_at author embedding embedding_sparse embedding_hash embedding_pending"
ARTICLES = sa.table("articles", *map(sa.column, _COLUMNS.split()))
AUTHORS = sa.table("authors", sa.column("id"), sa.column("name"))

# `likes` is a number from 0 to 999, as often as any other.
_MORE = """
UPDATE articles SET likes = (id * 7919) % 1000;
CREATE INDEX ON articles (likes);
ALTER TABLE articles ADD COLUMN deleted_at timestamptz, ADD COLUMN author int;
UPDATE articles SET deleted_at = CASE WHEN id % 2 = 0 THEN now() END, author = id % 50;
CREATE TABLE authors (id int PRIMARY KEY, name text);
INSERT INTO authors SELECT n, 'author ' || n FROM generate_series(0, 49) AS n;
"""


@pytest.fixture(scope="module", params=["columns", "companion"])
def library(
    server: str, template: str, model: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The DSN of a database with 3,000 encoded articles, in each layout."""
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            fill(connection)
            connection.execute(_MORE)
            drain(
                connection,
                add_embedding(dsn, connection, "articles", ("title",), model, layout=request.param),
            )
            connection.execute("VACUUM ANALYZE")
        yield dsn


@pytest.fixture
def connection(library: str) -> Iterator[Connection]:
    with connect(library) as connection:
        yield connection


@pytest.fixture(scope="module")
def filtering(library: str) -> sa.Engine:
    """One engine for all, which compiles a statement once for all values."""
    return engine(library)


@functools.cache
def _rows(dsn: str, declaration: Declaration) -> Stored:
    with connect(dsn) as connection:
        return stored(connection, declaration)


@functools.cache
def _truth(dsn: str, declaration: Declaration, query: QueryVectors, weights: Weights) -> Scores:
    return reference(_rows(dsn, declaration), query, weights)


def found(
    filtering: sa.Connection,
    declaration: Declaration,
    encoder: Encoder,
    text: str,
    weights: Weights,
    *filters: sa.ColumnElement[bool],
) -> list[tuple[int, float, bool]]:
    """Return key, score and `complete` of the best ten rows that match."""
    query = encode_query(encoder, declaration, text)
    values = {
        "dense": query.dense,
        "sparse": query.sparse,
        "k": 10,
        "dense_weight": float(weights.dense),
        "sparse_weight": float(weights.sparse),
    }
    tables = Tables.of(declaration, ARTICLES, filters)
    statement = search_statement(tables, Parameters.of(declaration, values))
    with filtering.begin():
        rows = filtering.execute(statement).all()
    return [(row.key_0, row.score, row.complete) for row in rows]


@pytest.fixture
def check_best(
    library: str, connection: Connection, filtering: sa.Engine, encoder: Encoder
) -> Iterator[CheckBest]:
    """What is found with the filters are the best ten of the rows for which the condition holds."""
    with filtering.connect() as opened:
        yield functools.partial(_check_best, library, connection, opened, encoder)


def _check_best(
    dsn: str,
    connection: Connection,
    filtering: sa.Connection,
    encoder: Encoder,
    condition: str,
    *filters: sa.ColumnElement[bool],
) -> None:
    declaration = load(connection, "articles").declaration
    rows = connection.execute(f"SELECT id FROM articles WHERE {condition}".encode()).fetchall()
    for weights in WEIGHTS:
        for text in QUERIES[:-1]:
            query = encode_query(encoder, declaration, text)
            truth = _truth(dsn, declaration, query, weights)
            best = sorted((truth[key][0] for (key,) in rows), reverse=True)[:10]
            if weights.dense == 0:
                best = [score for score in best if score > 0]
            answer = found(filtering, declaration, encoder, text, weights, *filters)
            assert {key for key, _, _ in answer} <= {key for (key,) in rows}
            assert [score for _, score, _ in answer] == pytest.approx(best, abs=1e-5)
            assert all(complete for _, _, complete in answer)


@pytest.mark.parametrize("per_thousand", [1000, 500, 100, 50, 10, 5, 1])
def test_the_best_k_of_those_that_match_at_every_selectivity(
    check_best: CheckBest, per_thousand: int
) -> None:
    condition = f"likes < {per_thousand}"
    check_best(condition, ARTICLES.c.likes < per_thousand)


def test_no_row_matches(check_best: CheckBest) -> None:
    check_best("false", ARTICLES.c.likes < 0)


def test_soft_deletes(check_best: CheckBest) -> None:
    kept = ARTICLES.c.deleted_at.is_(None)
    check_best("deleted_at IS NULL", kept)


def test_conditions_on_other_tables(check_best: CheckBest) -> None:
    named = sa.and_(AUTHORS.c.id == ARTICLES.c.author, AUTHORS.c.name == "author 7")
    for written in (
        sa.exists(sa.select(sa.literal(1)).select_from(AUTHORS).where(named).correlate(ARTICLES)),
        ARTICLES.c.author.in_(sa.select(AUTHORS.c.id).where(AUTHORS.c.name == "author 7")),
    ):
        check_best("author = 7", written)


def test_the_index_of_a_filter_is_used_where_it_leaves_few_rows(
    library: str, connection: Connection, encoder: Encoder
) -> None:
    declaration = load(connection, "articles").declaration
    query = encode_query(encoder, declaration, "a cat on the mat")
    values = {
        "dense": query.dense,
        "sparse": query.sparse,
        "k": 10,
        "dense_weight": 1.0,
        "sparse_weight": 0.1,
    }
    tables = Tables.of(declaration, ARTICLES, [ARTICLES.c.likes < 5])
    statement = search_statement(tables, Parameters.of(declaration, values))
    with engine(library).connect() as plain:
        compiled = statement.compile(plain)
        lines = plain.exec_driver_sql(f"EXPLAIN (ANALYZE) {compiled}", compiled.params).scalars()
        plan = list(lines)
    assert any(executed(plan, "Bitmap Index Scan on articles_likes_idx"))
    assert not any(executed(plan, "Index Scan using articles_embedding_dense"))
