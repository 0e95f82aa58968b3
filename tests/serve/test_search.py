from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered
from gte_pg.encoder import Encoder
from gte_pg.search import Weights, encode_query
from gte_pg.search import search as run_search
from tests.serve.server import NOWHERE, Server, serving, until
from tests.tables import ARTICLES, add_embedding, drain

FIELDS = {"table": "articles", "query": "cat 7"}


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    """A table of 60 encoded rows."""
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'cat ' || n FROM generate_series(1, 60) n")
    registered = add_embedding(dsn, connection, "articles", ("title", "body"), model)
    drain(connection, registered)
    return registered


@pytest.fixture
def searching(dsn: str, articles: Registered, model: str) -> Iterator[Server]:
    options = ("--connections", "2", "--statement-timeout", "1")
    with serving(dsn, "--model", model, *options) as server:
        yield server


def hits(
    connection: Connection, articles: Registered, encoder: Encoder, **options: Any
) -> list[dict[str, Any]]:
    query = encode_query(encoder, articles.declaration, FIELDS["query"])
    found = run_search(connection, articles, query, **options)
    return [dataclasses.asdict(hit) for hit in found]


def test_the_rows_are_those_of_the_library(
    searching: Server, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    answer = searching.answer("/search", FIELDS)
    expected = hits(connection, articles, encoder)
    assert [row["key"] for row in answer["rows"]] == [hit["key"] for hit in expected]
    assert len(answer["rows"]) == 10
    for row, hit in zip(answer["rows"], expected, strict=True):
        assert set(row) == set(hit)
        assert row["score"] == pytest.approx(hit["score"], abs=1e-5)
    fields = FIELDS | {"k": 3, "dense_weight": 0, "sparse_weight": 2, "exact": True}
    words = searching.answer("/search", fields)["rows"]
    expected = hits(connection, articles, encoder, limit=3, weights=Weights(0, 2), exact=True)
    assert [row["key"] for row in words] == [hit["key"] for hit in expected]
    for row in words:
        assert row["score"] == pytest.approx(2 * row["sparse"], abs=1e-5)


def test_the_vectors_are_what_sql_takes(searching: Server, connection: Connection) -> None:
    vectors = searching.answer("/vectors", FIELDS)
    found = connection.execute(
        "SELECT key, score FROM gte.search('articles', %s, %s)",
        (vectors["dense"], vectors["sparse"]),
    ).fetchall()
    rows = searching.answer("/search", FIELDS)["rows"]
    assert [row["key"] for row in rows] == [key for key, _ in found]


WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"table": None}, 400, "'table' is missing"),
    ({"table": 7}, 400, "a string"),
    ({"table": "nowhere"}, 404, "no table nowhere"),
    ({"table": "pg_class"}, 404, "no embedding"),
    ({"table": ""}, 404, "table"),
    ({"table": "\0"}, 404, "table"),
    ({"table": "articles; DROP TABLE articles"}, 404, "articles; DROP"),
    ({"table": 'articles" --'}, 404, 'articles" --'),
    ({"embedding": "other"}, 404, "no embedding called 'other'"),
    ({"embedding": "x' OR '1'='1"}, 404, "no embedding called"),
    ({"query": None}, 400, "'query' is missing"),
    ({"query": " \n"}, 400, "empty"),
    ({"k": 0}, 400, "from 1 to 1,000"),
    ({"k": -1}, 400, "from 1 to 1,000"),
    ({"k": 10_000_000}, 400, "from 1 to 1,000"),
    ({"k": "10"}, 400, '"10"'),
    ({"dense_weight": -1}, 400, "not negative"),
    ({"dense_weight": 0, "sparse_weight": 0}, 400, "both weights are 0"),
    ({"sparse_weight": 10**400}, 400, "many digits"),
    ({"sparse_weight": "1"}, 400, "a finite number"),
    ({"exact": 1}, 400, "true or false"),
    ({"limit": 3}, 400, "no field 'limit'"),
]


def test_what_cannot_be_searched_is_told(searching: Server, connection: Connection) -> None:
    for fields, status, message in WRONG:
        assert message in searching.error("/search", FIELDS | fields, status)["message"]
    assert connection.execute("SELECT count(*) FROM articles").fetchone() == (60,)


def test_a_weight_that_is_no_number(searching: Server) -> None:
    headers = {"Content-Type": "application/json"}
    for weight in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"table": "articles", "query": "cat", "dense_weight": {weight}}}'
        response = searching.client.post("/search", content=body, headers=headers)
        assert response.status_code == 400, weight


def test_any_query_is_only_text(searching: Server, connection: Connection) -> None:
    for query in ("'; DROP TABLE articles; --", "%s {x} \\ $1 \0", "x" * 100_000):
        assert len(searching.answer("/search", FIELDS | {"query": query})["rows"]) == 10
    assert connection.execute("SELECT count(*) FROM articles").fetchone() == (60,)


def test_a_statement_has_so_much_time(
    searching: Server, connection: Connection, articles: Registered
) -> None:
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as other:
        other.execute("LOCK TABLE articles IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        error = searching.error("/search", FIELDS, 504)
        assert 0.5 < time.monotonic() - started < 5
        assert "statement timeout" in error["message"]
    searching.answer("/search", FIELDS)


def test_too_many_searches_at_once_are_turned_away(
    searching: Server, connection: Connection
) -> None:
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as other:
        other.execute("LOCK TABLE articles IN ACCESS EXCLUSIVE MODE")
        together = threading.Barrier(60)

        def ask(_number: int) -> int:
            together.wait()
            return searching.post("/search", FIELDS).status_code

        with ThreadPoolExecutor(60) as pool:
            asked = [pool.submit(ask, number) for number in range(60)]
            until(lambda: searching.metric("gte_pg_refused_total") > 0)
            other.rollback()
            statuses = {each.result() for each in asked}
    assert 503 in statuses
    assert statuses <= {200, 503, 504}
    searching.answer("/search", FIELDS)


def test_the_server_has_the_rights_of_its_own_role(
    dsn: str, connection: Connection, articles: Registered, model: str
) -> None:
    role = f"gte_pg_reader_{connection.info.backend_pid}"
    name = sql.Identifier(role)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reading'").format(name))
    try:
        with serving(make_conninfo(dsn, user=role, password="reading"), "--model", model) as server:
            assert "may not read" in server.error("/search", FIELDS, 403)["message"]
            connection.execute(sql.SQL("GRANT SELECT ON articles TO {}").format(name))
            assert len(server.answer("/search", FIELDS)["rows"]) == 10
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_nothing_is_written(
    dsn: str, connection: Connection, articles: Registered, model: str
) -> None:
    role = f"gte_pg_noting_{connection.info.backend_pid}"
    name = sql.Identifier(role)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'reading'").format(name))
    try:
        # A policy brings code of the table's owner into the search.
        connection.execute("""
            CREATE TABLE seen (title text);
            CREATE FUNCTION note(title text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
            $$ BEGIN INSERT INTO seen VALUES (title); RETURN true; END $$;
            ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
            CREATE POLICY noting ON articles USING (note(title));
        """)
        connection.execute(sql.SQL("GRANT SELECT ON articles TO {}").format(name))
        with serving(make_conninfo(dsn, user=role, password="reading"), "--model", model) as server:
            assert "read-only" in server.error("/search", FIELDS, 500)["message"]
        assert connection.execute("SELECT count(*) FROM seen").fetchone() == (0,)
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_postgres_may_go_and_come_back(searching: Server, connection: Connection, dsn: str) -> None:
    assert searching.client.get("/readyz").status_code == 200
    searching.answer("/search", FIELDS)
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'gte-pg serve' AND datname = current_database()"
    )
    searching.answer("/search", FIELDS)
    assert searching.client.get("/readyz").status_code == 200


def test_without_a_database_it_encodes_and_is_not_ready(model: str) -> None:
    with serving(NOWHERE, "--model", model, "--timeout", "10") as server:
        server.answer("/v1/embeddings", {"model": model, "input": "a"})
        error = server.error("/search", FIELDS, 503)
        assert "cannot be reached" in error["message"]
        ready = server.client.get("/readyz")
        assert (ready.status_code, ready.json()["ready"]) == (503, False)
        assert server.client.get("/healthz").status_code == 200
