"""Search by text inside the database. Runs where the test server has plpython3u."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from gte_pg.database import Connection
from tests.serve.server import Server, command, environment, serving
from tests.tables import ARTICLES, add_embedding, drain

TOKEN = "correct horse battery"


def install(dsn: str, url: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("--dsn", dsn, "--install-sql", url),
        env=environment(GTE_PG_SERVE_TOKEN=token),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def has_plpython(connection: Connection) -> bool:
    found = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'plpython3u')"
    return connection.execute(found).fetchone() == (True,)


@pytest.fixture
def searching(dsn: str, connection: Connection, model: str) -> Iterator[Server]:
    if not has_plpython(connection):
        pytest.skip("this Postgres has no plpython3u")
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'cat ' || n FROM generate_series(1, 60) n")
    drain(connection, add_embedding(dsn, connection, "articles", ("title", "body"), model))
    with serving(dsn, "--model", model, token=TOKEN) as server:
        done = install(dsn, str(server.client.base_url))
        assert done.returncode == 0, done.stderr
        yield server


def test_a_text_finds_what_the_server_finds(searching: Server, connection: Connection) -> None:
    fields = {"table": "articles", "query": "cat 7", "k": 5, "sparse_weight": 0.3}
    found = connection.execute(
        "SELECT key, score FROM gte.search_text('articles', 'cat 7', 5, sparse_weight => 0.3)"
    ).fetchall()
    rows = searching.answer("/search", fields)["rows"]
    assert [key for key, _ in found] == [row["key"] for row in rows]
    assert [score for _, score in found] == pytest.approx([row["score"] for row in rows], abs=1e-5)


def test_it_sees_the_callers_snapshot_and_rows(searching: Server, connection: Connection) -> None:
    role = sql.Identifier(f"gte_pg_tenant_{connection.info.backend_pid}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        connection.execute(
            sql.SQL("""
                GRANT SELECT ON articles TO {0};
                ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
                CREATE POLICY few ON articles TO {0} USING (id <= 4);
                SET ROLE {0};
                SET search_path = public;
            """).format(role)
        )
        found = connection.execute("SELECT key FROM gte.search_text('articles', 'cat 7')")
        assert sorted(key["id"] for (key,) in found) == [1, 2, 3, 4]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT token FROM gte.server")
    finally:
        connection.execute("RESET ROLE")
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_what_the_server_says_is_the_error(
    searching: Server, connection: Connection, dsn: str
) -> None:
    with pytest.raises(psycopg.Error, match="'query' is empty"):
        connection.execute("SELECT gte.search_text('articles', ' ')")
    url = str(searching.client.base_url)
    assert install(dsn, url, "another token altogether").returncode == 0
    with pytest.raises(psycopg.Error, match="the token is missing or wrong"):
        connection.execute("SELECT gte.search_text('articles', 'cat')")
    assert install(dsn, "http://127.0.0.1:1/").returncode == 0
    with pytest.raises(psycopg.Error, match="does not answer at http://127.0.0.1:1: .*refused"):
        connection.execute("SELECT gte.search_text('articles', 'cat')")


def test_where_it_cannot_be_installed(dsn: str, empty_dsn: str, connection: Connection) -> None:
    assert "run gte-pg init" in install(empty_dsn, "http://127.0.0.1:8100").stderr
    assert "write it as" in install(dsn, "localhost:8100").stderr
    if not has_plpython(connection):
        assert "postgresql-plpython3" in install(dsn, "http://127.0.0.1:8100").stderr
