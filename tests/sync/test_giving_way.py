"""What needs a table for a moment gets it, whoever else is at it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, load, load_all
from gte_pg.declaration import drop_capture
from gte_pg.sync import missing_triggers
from tests.tables import ARTICLES, add_embedding


@pytest.fixture
def vacuumed(server: str, dsn: str, connection: Connection, model: str) -> Iterator[Connection]:
    """A connection to a database in which an autovacuum is at the table of articles for minutes."""
    connection.execute(ARTICLES)
    add_embedding(dsn, connection, "articles", ("title",), model)
    connection.execute("""
        INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 3000) n;
        UPDATE articles SET likes = 1;
        ALTER TABLE articles SET (
            autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
            autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0
        )
    """)
    with psycopg.connect(server, autocommit=True) as superuser:
        superuser.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        superuser.execute("SELECT pg_reload_conf()")
        try:
            until = time.monotonic() + 60
            while not connection.execute("SELECT FROM pg_stat_progress_vacuum").fetchall():
                assert time.monotonic() < until
                time.sleep(0.1)
            yield connection
        finally:
            superuser.execute("ALTER SYSTEM RESET autovacuum_naptime")
            superuser.execute("SELECT pg_reload_conf()")


def test_an_autovacuum_keeps_no_command_out(dsn: str, vacuumed: Connection) -> None:
    for statement in drop_capture(load(vacuumed, "articles").declaration):
        vacuumed.execute("SET lock_timeout = '30s'")
        vacuumed.execute(statement)
    vacuumed.execute("INSERT INTO articles VALUES (0, 'unseen')")
    for command in (["sync", "--repair", "--table", "articles"], ["remove", "articles"]):
        until = time.monotonic() + 60
        while not vacuumed.execute("SELECT FROM pg_stat_progress_vacuum").fetchall():
            assert time.monotonic() < until
            time.sleep(0.1)
        done = CliRunner().invoke(main, [*command, "--dsn", dsn])
        assert done.exit_code == 0, done.output
        assert all(missing_triggers(vacuumed, one) == [] for one in load_all(vacuumed))
    assert load_all(vacuumed) == []
