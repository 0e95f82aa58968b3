"""A table that another transaction has for itself: VACUUM FULL, an ALTER TABLE, a forgotten one."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from click.testing import CliRunner
from psycopg import sql

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load_all
from gte_pg.errors import DatabaseError
from gte_pg.sync import Round, Team, members, missing_search_indexes, status, sync_once, watch
from gte_pg.sync.indexes import update_statistics
from gte_pg.sync.locked import _LOCKED_SECONDS
from tests.tables import ARTICLES, add_embedding, drain, team_of


@pytest.fixture
def notes(dsn: str, connection: Connection, articles: Registered, model: str) -> Registered:
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    connection.execute("INSERT INTO notes VALUES (1, 'x')")
    return add_embedding(dsn, connection, "notes", ("body",), model)


@contextmanager
def locked(dsn: str, table: str, mode: str = "ACCESS EXCLUSIVE") -> Iterator[None]:
    with connect(dsn) as application, application.transaction():
        application.execute(f"LOCK TABLE {table} IN {mode} MODE".encode())
        yield


@pytest.mark.parametrize("mode", ["ACCESS EXCLUSIVE", "SHARE"])  # the latter: CREATE INDEX
def test_watching_goes_on_with_the_others_and_can_be_stopped(
    dsn: str,
    connection: Connection,
    articles: Registered,
    notes: Registered,
    mode: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    drain(connection, articles)
    connection.execute("UPDATE articles SET title = 'another' WHERE id <= 2")
    team = team_of(connection)
    watching = threading.Thread(target=lambda: list(watch(team, load_all)), daemon=True)
    with locked(dsn, articles.declaration.vectors.as_string(), mode):
        watching.start()
        for text in ("y", "z"):
            connection.execute("UPDATE notes SET body = %s", (text,))
            until = time.monotonic() + 10
            while status(connection, notes).pending:
                assert time.monotonic() < until, "it waits for the other table"
                time.sleep(0.05)
            time.sleep(1.5)
        team.stop.set()
        watching.join(4)
        assert not watching.is_alive()
    assert "public.articles is locked by another transaction" in caplog.text


def test_what_was_locked_is_encoded_when_it_is_free(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    with locked(dsn, "articles"):
        team = team_of(connection)
        done: list[int] = []
        syncing = threading.Thread(
            target=lambda: done.extend(one.left for one in sync_once(connection, articles, team))
        )
        syncing.start()
        time.sleep(2.5)
    syncing.join()
    assert done[-1] == 0
    with connect(dsn) as own:
        assert status(own, articles).encoded == 20


def test_a_sync_says_so_in_the_end_and_does_the_others(
    dsn: str,
    connection: Connection,
    articles: Registered,
    notes: Registered,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert sum(_LOCKED_SECONDS) + len(_LOCKED_SECONDS) > 60
    monkeypatch.setattr("gte_pg.sync.locked._LOCKED_SECONDS", (0.1,))
    monkeypatch.setattr("gte_pg.sync.members._MOST_LOST", 1)
    with locked(dsn, "articles"):
        done = CliRunner().invoke(main, ["sync", "--dsn", dsn])
    assert done.exit_code == 1
    assert "public.articles is locked by another transaction" in done.output
    assert status(connection, notes).encoded == 1


def test_what_a_trigger_of_the_application_waits_for_is_told(
    dsn: str,
    connection: Connection,
    articles: Registered,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("gte_pg.sync.members._RETRY_SECONDS", (0.1,))
    monkeypatch.setattr("gte_pg.sync.members._MOST_LOST", 1)
    connection.execute("""
        CREATE TABLE counters AS SELECT 0 AS written;
        CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE counters SET written = written + 1; RETURN NULL; END'
    """)
    trigger = sql.SQL(
        "CREATE TRIGGER c AFTER UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION count_up()"
    )
    connection.execute(trigger.format(articles.declaration.vectors))
    with connect(dsn) as application, application.transaction():
        application.execute("UPDATE counters SET written = 1")
        done = CliRunner().invoke(main, ["sync", "--table", "articles", "--dsn", dsn])
    assert done.exit_code == 1
    assert 'relation "counters"' in caplog.text


def test_a_sync_that_waits_for_it_can_be_stopped(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    team = team_of(connection)
    threading.Timer(0.5, team.stop.set).start()
    begun = time.monotonic()
    vectors = articles.declaration.vectors.as_string()
    with locked(dsn, vectors), pytest.raises(DatabaseError, match="locked by another"):
        list(sync_once(connection, articles, team))
    assert time.monotonic() - begun < 4


def test_a_partition_holds_up_no_other_table(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(f"{ARTICLES} PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE few PARTITION OF articles FOR VALUES FROM (0) TO (100)")
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    connection.execute("INSERT INTO notes VALUES (1, 'x')")
    add_embedding(dsn, connection, "articles", ("title",), model)
    notes = add_embedding(dsn, connection, "notes", ("body",), model)
    team = team_of(connection)
    watching = threading.Thread(target=lambda: list(watch(team, load_all)), daemon=True)
    with locked(dsn, "few"):
        watching.start()
        until = time.monotonic() + 15
        while status(connection, notes).pending:
            assert time.monotonic() < until, "it waits for the other table"
            time.sleep(0.05)
        team.stop.set()
        watching.join(4)
        assert not watching.is_alive()


def test_keys_that_cannot_be_copied_are_not_waited_for_for_ever(
    dsn: str, connection: Connection, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'x')")
    articles = add_embedding(
        dsn, connection, "articles", ("title",), model, layout="companion", copied=False
    )
    monkeypatch.setattr("gte_pg.sync.locked._LOCKED_SECONDS", (0.1,))
    team = team_of(connection)
    stopping = threading.Timer(10, team.stop.set)
    stopping.start()
    with locked(dsn, "articles"), pytest.raises(DatabaseError, match="locked by another"):
        list(sync_once(connection, articles, team))
    stopping.cancel()
    assert not team.stop.is_set()


def test_a_table_that_is_locked_in_the_end_is_waited_for(
    dsn: str, connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode_and_lock(team: Team, registered: Registered) -> Iterator[Round]:
        yield from members.drain(team, registered)
        application.execute("BEGIN; LOCK TABLE articles")
        threading.Timer(2, application.rollback).start()

    monkeypatch.setattr("gte_pg.sync.sync.drain", encode_and_lock)
    with connect(dsn) as application:
        assert drain(connection, articles).left == 0
    assert missing_search_indexes(connection, articles.declaration) == []


@pytest.fixture
def partitioned(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(f"{ARTICLES} PARTITION BY RANGE (id)")
    for name, start in (("first", 0), ("second", 100)):
        bounds = f"FOR VALUES FROM ({start}) TO ({start + 100})"
        connection.execute(f"CREATE TABLE {name} PARTITION OF articles {bounds}".encode())
    connection.execute("INSERT INTO articles SELECT n, 'x' FROM generate_series(1, 150) n")
    return add_embedding(dsn, connection, "articles", ("title",), model)


def test_statistics_are_left_to_later_where_a_partition_is_locked(
    dsn: str, connection: Connection, partitioned: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    with locked(dsn, "second"):
        update_statistics(connection, partitioned.declaration)
    assert "public.articles has no new statistics" in caplog.text


def test_statistics_lock_one_partition_at_a_time(
    connection: Connection, partitioned: Registered
) -> None:
    connection.execute("""
        CREATE FUNCTION locks(bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
            SELECT 1 / (count(*) < 2)::int FROM pg_locks
            WHERE pid = pg_backend_pid() AND mode = 'ShareUpdateExclusiveLock'
        $$;
        CREATE INDEX ON second (locks(id))
    """)
    update_statistics(connection, partitioned.declaration)
