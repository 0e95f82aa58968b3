"""Partitioned tables: the same answers, and a filter on the partition key leaves the others alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, connect, engine, load
from gte_pg.encoder import Encoder
from gte_pg.search import Parameters, Tables, Weights, encode_query, search, search_statement
from tests.postgres import new_database
from tests.search.articles import QUERIES, WEIGHTS, fill
from tests.tables import add_embedding, drain

PARTITIONS = {
    "hash": (
        "PARTITION BY HASH (region)",
        "CREATE TABLE part_{n} PARTITION OF parted FOR VALUES WITH (MODULUS 4, REMAINDER {n})",
    ),
    "list": (
        "PARTITION BY LIST (region)",
        "CREATE TABLE part_{n} PARTITION OF parted FOR VALUES IN ({n})",
    ),
    "range": (
        "PARTITION BY RANGE (region)",
        "CREATE TABLE part_{n} PARTITION OF parted FOR VALUES FROM ({n}) TO ({n} + 1)",
    ),
}


@pytest.fixture(scope="module", params=list(PARTITIONS))
def library(
    server: str, template: str, model: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The DSN of a database with the same 2,000 articles in a plain table and in one of four parts."""
    by, part = PARTITIONS[request.param]
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            fill(connection, 2_000)
            connection.execute(
                "CREATE TABLE parted (region int, id bigint, title text, "
                f"PRIMARY KEY (region, id)) {by}".encode()
            )
            for n in range(4):
                connection.execute(part.format(n=n).encode())
            connection.execute("INSERT INTO parted SELECT id % 4, id, title FROM articles")
            for table in ("articles", "parted"):
                drain(connection, add_embedding(dsn, connection, table, ("title",), model))
            connection.execute("VACUUM ANALYZE")
        yield dsn


@pytest.fixture
def connection(library: str) -> Iterator[Connection]:
    with connect(library) as connection:
        yield connection


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_parts_answer_like_the_whole(
    connection: Connection, encoder: Encoder, weights: Weights
) -> None:
    whole, parted = load(connection, "articles"), load(connection, "parted")
    for text in QUERIES[:-1]:
        query = encode_query(encoder, whole.declaration, text)
        for exact in (True, False):
            expected = search(connection, whole, query, weights=weights, exact=True)
            hits = search(connection, parted, query, weights=weights, exact=exact)
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected])
            assert all(hit.complete for hit in hits)


def test_a_filter_on_the_partition_key_prunes(
    library: str, connection: Connection, encoder: Encoder
) -> None:
    declaration = load(connection, "parted").declaration
    query = encode_query(encoder, declaration, "a cat on the mat")
    values = {
        "dense": query.dense,
        "sparse": query.sparse,
        "k": 10,
        "dense_weight": 1.0,
        "sparse_weight": 0.1,
    }
    names = [*(column.name for column in declaration.key), *declaration.columns]
    table = sa.table("parted", *map(sa.column, names))
    tables = Tables.of(declaration, table, [table.c.region == 2])
    statement = search_statement(tables, Parameters.of(declaration, values))
    with engine(library).connect() as plain:
        assert {row.key_0 for row in plain.execute(statement)} == {2}
        compiled = statement.compile(plain)
        plan = plain.exec_driver_sql(f"EXPLAIN (ANALYZE) {compiled}", compiled.params).scalars()
        text = "\n".join(plan)
    assert sum(f"on part_{n}" in text for n in range(4)) == 1
