"""A companion of a table that had rows: the keys are copied while everybody goes on writing."""

from __future__ import annotations

import random
import threading

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import pending_index
from gte_pg.errors import DatabaseError
from gte_pg.sync import copy_keys as copying
from gte_pg.sync import count_broken, repair, status, sync_once, wait_until_synced, watch
from gte_pg.sync.copy_keys import copy_keys, is_copied
from gte_pg.sync.indexes import build_index
from tests.tables import ARTICLES, add_embedding, drain, team_of

ROWS = 300


@pytest.fixture(autouse=True)
def few_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "_MOST_ROWS", 16)


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(ARTICLES)
    connection.execute(
        "INSERT INTO articles SELECT n, CASE WHEN mod(n, 10) > 0 THEN 'title ' || n END "
        "FROM generate_series(1, %s) n",
        (ROWS,),
    )
    return add_embedding(
        dsn, connection, "articles", ("title",), model, layout="companion", copied=False
    )


def keys(connection: Connection, table: str) -> list[tuple[object, ...]]:
    return connection.execute(f"SELECT id FROM {table} ORDER BY id".encode()).fetchall()


def test_until_it_is_done_the_rows_are_pending(
    connection: Connection, articles: Registered
) -> None:
    assert not is_copied(connection, articles)
    told = status(connection, articles)
    assert (told.rows, told.encoded, told.pending, told.estimated) == (ROWS, 0, ROWS, False)
    assert not wait_until_synced(connection, "articles", timeout=0)
    in_sql = "SELECT gte.wait_until_synced('articles', '0 s')"
    assert connection.execute(in_sql).fetchone() == (False,)
    assert count_broken(connection, articles) == 0

    last = drain(connection, articles)

    assert (last.encoded, last.left) == (ROWS * 9 // 10, 0)
    assert keys(connection, "articles_embedding") == keys(connection, "articles")
    told = status(connection, articles)
    assert (told.rows, told.encoded, told.pending, told.estimated) == (ROWS, 270, 0, False)
    assert wait_until_synced(connection, "articles", timeout=0)
    assert connection.execute(in_sql).fetchone() == (True,)
    connection.execute("DELETE FROM articles_embedding WHERE id = 5")
    assert count_broken(connection, articles) == 1
    assert repair(connection, articles).rows == 1


def test_the_first_that_watches_copies_them(connection: Connection, articles: Registered) -> None:
    team = team_of(connection)
    for _, progress in watch(team, lambda _: [articles]):
        if progress.stage == "done" and is_copied(connection, articles):
            team.stop.set()
    drain(connection, articles)
    assert keys(connection, "articles_embedding") == keys(connection, "articles")


def test_one_goes_on_where_another_stopped(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    copy_some = copying._copy_some

    def copy_once(connection: Connection, registered: Registered, rows: int) -> None:
        copy_some(connection, registered, rows)
        stop.set()

    monkeypatch.setattr(copying, "_copy_some", copy_once)
    assert not copy_keys(connection, articles, stop)
    connection.execute("DELETE FROM articles_embedding WHERE id = 1")  # it is not looked at again
    for expected in (31, 47):
        stop.clear()
        assert not copy_keys(connection, articles, stop)
        assert len(keys(connection, "articles_embedding")) == expected


def test_whoever_has_written_a_row_is_waited_for_and_waits_for_nobody(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("SET statement_timeout = '10s'")
    patient = make_conninfo(dsn, options="-c lock_timeout=2s")
    with connect(patient) as writer, writer.transaction():
        writer.execute("UPDATE articles SET title = 'mine' WHERE id = 100")
        assert not copy_keys(connection, articles, threading.Event())
        assert len(keys(connection, "articles_embedding")) == 99
        # In the order that makes a deadlock of two that wait for each other.
        stop = threading.Event()
        copier = threading.Thread(target=lambda: _copy_until(dsn, articles, stop))
        copier.start()
        for key in range(99, 1, -7):
            writer.execute("UPDATE articles SET title = 'mine' WHERE id = %s", (key,))
            writer.execute("UPDATE articles SET title = 'mine' WHERE id = %s", (ROWS - key,))
    copier.join()
    assert is_copied(connection, articles)
    assert keys(connection, "articles_embedding") == keys(connection, "articles")
    drain(connection, articles)
    assert count_broken(connection, articles) == 0


def _copy_until(dsn: str, articles: Registered, stop: threading.Event) -> None:
    with connect(make_conninfo(dsn, options="-c statement_timeout=10s")) as own:
        while not copy_keys(own, articles, stop):
            stop.wait(0.02)


_CHANGES = (
    "UPDATE articles SET title = 'changed ' || %(n)s WHERE id = %(key)s",
    "UPDATE articles SET title = NULL WHERE id = %(key)s",
    "UPDATE articles SET likes = likes + 1 WHERE id = %(key)s",
    "UPDATE articles SET id = id + 100000 * %(n)s WHERE id = %(key)s",
    "DELETE FROM articles WHERE id = %(key)s",
    "INSERT INTO articles VALUES (%(key)s, 'new ' || %(n)s) ON CONFLICT (id) DO NOTHING",
)


@pytest.mark.parametrize("seed", range(4))
def test_everybody_writes_meanwhile(
    dsn: str, connection: Connection, articles: Registered, seed: int
) -> None:
    stop, problems = threading.Event(), list[Exception]()

    def write(number: int) -> None:
        draw = random.Random(f"{seed} {number}")
        with connect(make_conninfo(dsn, options="-c lock_timeout=5s")) as own:
            while not stop.is_set():
                try:
                    with own.transaction(force_rollback=draw.random() < 0.2):
                        # In the order of keys: two writers do not make a deadlock of their own.
                        for key in sorted(draw.sample(range(1, ROWS + 1), 3)):
                            n = draw.randrange(1, 1_000)
                            own.execute(draw.choice(_CHANGES).encode(), {"key": key, "n": n})
                except psycopg.errors.UniqueViolation:
                    pass
                except psycopg.Error as error:
                    problems.append(error)
                    return

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    copiers = [
        threading.Thread(target=_copy_until, args=(dsn, articles, threading.Event()))
        for _ in range(2)
    ]
    for thread in (*writers, *copiers):
        thread.start()
    for thread in copiers:
        thread.join()
    stop.set()
    for thread in writers:
        thread.join()
    assert problems == []
    assert drain(connection, articles).left == 0
    assert count_broken(connection, articles) == 0
    assert keys(connection, "articles_embedding") == keys(connection, "articles")


@pytest.fixture(params=["text", "composite", "partitioned"])
def other(
    request: pytest.FixtureRequest, dsn: str, connection: Connection, model: str
) -> Registered:
    if request.param == "text":
        connection.execute("CREATE TABLE notes (name text PRIMARY KEY, title text)")
        # The empty string is a key like any other, and a name with a percent sign too.
        names = "'', '%s', 'Ä', 'ä', 'z', 'A', 'a''b', '[\"x\"]'"
        connection.execute(
            f"INSERT INTO notes SELECT n, 't' FROM unnest(ARRAY[{names}]) n".encode()
        )
    else:
        by = "PARTITION BY LIST (region)" if request.param == "partitioned" else ""
        columns = '(region text, "no %" int, title text, PRIMARY KEY (region, "no %"))'
        connection.execute(f"CREATE TABLE notes {columns} {by}".encode())
        if by:
            connection.execute("CREATE TABLE eu PARTITION OF notes FOR VALUES IN ('eu')")
            connection.execute("CREATE TABLE us PARTITION OF notes DEFAULT")
        connection.execute(
            "INSERT INTO notes SELECT r, n, 't' FROM generate_series(1, 40) n, unnest(ARRAY['us', 'eu']) r"
        )
    return add_embedding(
        dsn, connection, "notes", ("title",), model, layout="companion", copied=False
    )


@pytest.mark.parametrize("rows", [1, 16])
def test_every_kind_of_key(
    connection: Connection, other: Registered, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(copying, "_MOST_ROWS", rows)
    total = connection.execute("SELECT count(*) FROM notes").fetchone()
    assert copy_keys(connection, other, threading.Event())
    assert connection.execute("SELECT count(*) FROM notes_embedding").fetchone() == total
    assert count_broken(connection, other) == 0


def test_a_worker_that_may_not_is_told_who_may(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("CREATE ROLE copier LOGIN")
    try:
        connection.execute("GRANT SELECT ON articles, articles_embedding TO copier")
        connection.execute("GRANT SELECT, UPDATE ON gte.embedding TO copier")
        connection.execute("ALTER TABLE articles_embedding DISABLE ROW LEVEL SECURITY")
        with (
            connect(make_conninfo(dsn, options="-c role=copier")) as own,
            pytest.raises(DatabaseError, match="run gte-pg sync once as the owner"),
        ):
            copy_keys(own, articles, threading.Event())
    finally:
        connection.execute("DROP OWNED BY copier")
        connection.execute("DROP ROLE copier")


def test_the_command_leaves_nothing_to_copy(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 't' FROM generate_series(1, 50) n")
    command = ["add", "articles", "--source", "title", "--model", model, "--layout", "companion"]
    done = CliRunner().invoke(main, [*command, "--dsn", dsn])
    assert done.exit_code == 0, done.output
    registered = load(connection, "articles")
    assert is_copied(connection, registered)
    assert status(connection, registered).pending == 50


def test_a_sync_says_that_it_copies(connection: Connection, articles: Registered) -> None:
    stages = [one.stage for one in sync_once(connection, articles, team_of(connection))]
    assert stages[0] == "copying keys"
    assert stages[-1] == "done"


def test_a_sync_that_is_stopped_before_says_what_is_left(
    connection: Connection, articles: Registered
) -> None:
    team = team_of(connection)
    team.stop.set()
    *_, last = sync_once(connection, articles, team)
    assert (last.stage, last.encoded, last.left) == ("done", 0, ROWS)


def test_search_indexes_wait_for_rows_that_are_still_to_come(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    assert build_index(connection, articles, pending_index(articles.declaration))
    team, drained = team_of(connection), list[int]()

    def watching() -> None:
        for _, progress in watch(team, lambda _: [articles]):
            if progress.stage != "encoding":
                drained.append(progress.encoded)

    watcher = threading.Thread(target=watching)
    try:
        with connect(dsn) as writer, writer.transaction():
            writer.execute("UPDATE articles SET title = 'mine' WHERE id = 1")
            watcher.start()
            watcher.join(timeout=3)
            assert drained == []
        assert wait_until_synced(connection, "articles", timeout=60)
        for _ in range(600):
            if drained:
                break
            watcher.join(timeout=0.05)
        assert drained[0] > 0
    finally:
        team.stop.set()
        watcher.join()
