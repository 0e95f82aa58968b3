"""Several workers, several embeddings."""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import (
    Connection,
    Registered,
    connect,
    connect_pooled,
    connect_to_stay,
    load_all,
)
from gte_pg.declaration import Declaration
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError, EncodingError, ModelError
from gte_pg.sync import (
    Limit,
    Team,
    Worker,
    list_failures,
    status,
    sync_once,
    wait_until_synced,
    watch,
)
from gte_pg.sync.share import Share
from tests.roles import make_role
from tests.tables import Interrupted, add_embedding, drain, team_of


def test_watch_outlives_a_database_and_a_model_that_are_away(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.members._RETRY_SECONDS", (0.5, 1))
    stop = threading.Event()
    troubles = iter([ModelError("the files are gone"), psycopg.OperationalError("gone")])

    def encoder_for(_declaration: Declaration) -> Encoder:
        for trouble in troubles:
            connection.execute(
                "INSERT INTO articles (id, title) VALUES (-1, 'x') ON CONFLICT DO NOTHING"
            )
            raise trouble
        return encoder

    team = Team(dsn, stop, encoder_for)
    for _registered, progress in watch(team, load_all):
        if progress.stage == "done":
            stop.set()
    assert next(troubles, None) is None
    assert status(connection, articles).pending == 0


def test_two_workers_share_the_rows(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    meet = threading.Barrier(2, timeout=20)
    seen: list[str] = []
    once = threading.local()

    def note(texts: list[str]) -> None:
        seen.extend(texts)
        if not hasattr(once, "met"):
            once.met = True
            meet.wait()

    def work() -> None:
        with connect(dsn) as own:
            list(Worker(own, articles, Interrupted(encoder, note), batch_rows=3).rounds())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"title {n}" for n in range(1, 21))
    assert status(connection, articles).pending == 0


def test_what_a_lost_connection_had_claimed_is_done_after_all(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    losses = iter([f"SELECT pg_terminate_backend(pid) {others}"])

    def lose(_texts: list[str]) -> None:
        for loss in losses:
            connection.execute(loss.encode())

    team = replace(team_of(connection, Interrupted(encoder, lose)), limit=Limit(20))
    *_, last = sync_once(connection, articles, team)
    assert (last.encoded, last.left) == (20, 0)
    assert connection.execute("SELECT FROM gte.lease").fetchall() == []


def test_a_worker_that_is_not_let_in_is_done_without_unless_it_is_the_last(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[threading.Thread] = []

    def let_in_but_one(dsn: str) -> Connection:
        refused.append(threading.current_thread())
        if refused[0] is threading.current_thread():
            raise DatabaseError("too many connections")
        return connect_to_stay(dsn)

    monkeypatch.setattr("gte_pg.sync.members.connect_to_stay", let_in_but_one)
    monkeypatch.setattr("gte_pg.sync.members._RETRY_SECONDS", (0.01,))
    with pytest.raises(DatabaseError, match="too many"):
        list(sync_once(connection, articles, replace(team_of(connection), workers=1)))
    refused.clear()
    *_, last = sync_once(connection, articles, team_of(connection))
    assert (last.encoded, last.left) == (20, 0)


def test_a_limit_on_idle_sessions_does_not_end_a_worker_that_encodes(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    limit = sql.SQL("ALTER DATABASE {} SET idle_session_timeout = '200ms'")
    connection.execute(limit.format(sql.Identifier(connection.info.dbname)))
    slow = Interrupted(encoder, lambda _texts: time.sleep(0.5))
    *_, last = sync_once(connection, articles, team_of(connection, slow))
    assert (last.encoded, last.left) == (20, 0)


def test_a_limit_on_statements_does_not_end_a_write_with_slow_triggers(
    connection: Connection, articles: Registered
) -> None:
    connection.execute("""
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN PERFORM pg_sleep(0.03); RETURN NULL; END'
    """)
    audit = sql.SQL("CREATE TRIGGER a AFTER UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION audit()")
    connection.execute(audit.format(articles.declaration.vectors))
    limit = sql.SQL("ALTER DATABASE {} SET statement_timeout = '300ms'")
    connection.execute(limit.format(sql.Identifier(connection.info.dbname)))
    *_, last = sync_once(connection, articles, team_of(connection))
    assert (last.encoded, last.left) == (20, 0)


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_rights_on_the_columns_that_it_uses_are_enough_for_a_worker(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    written = ", ".join(articles.declaration.columns)
    make_role(connection, "gte_pg_test_columns")
    connection.execute(
        f"""
        GRANT SELECT (id, title, body, {written}), UPDATE ({written}) ON articles TO gte_pg_test_columns;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA gte TO gte_pg_test_columns;
    """.encode()
    )
    limited = make_conninfo(dsn, options="-c role=gte_pg_test_columns")
    with connect(limited) as own:
        *_, last = sync_once(own, articles, Team(limited, threading.Event()))
    assert (last.encoded, last.left) == (20, 0)


def test_nothing_is_left_in_a_worker_s_session(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    # A pooler may hand each transaction another session: what a worker sets must end with it.
    left = """
        SELECT (SELECT count(*) FROM pg_settings WHERE source = 'session' AND name <> 'client_encoding'),
               (SELECT count(*) FROM pg_prepared_statements),
               (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
    """
    with connect_pooled(dsn) as own:
        before = own.execute(left).fetchone()
        worker = Worker(own, articles, encoder, batch_rows=5)
        assert sum(done.encoded for done in worker.rounds()) == 20
        assert own.execute(left).fetchone() == before


def test_a_limit_is_kept_by_all_workers_together(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    team = Team(dsn, threading.Event(), workers=3, batch_rows=2, limit=Limit(7))
    *_, last = sync_once(connection, articles, team)
    assert (last.encoded, last.left) == (7, 13)


@pytest.mark.parametrize("trouble", [ModelError("no such files"), MemoryError()])
def test_one_embedding_s_trouble_is_nobody_else_s(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    model: str,
    trouble: Exception,
) -> None:
    connection.execute("""
        CREATE TABLE gone (id int PRIMARY KEY, body text, other text);
        CREATE TABLE modelless (id int PRIMARY KEY, body text);
        INSERT INTO gone VALUES (1, 'x');
        INSERT INTO modelless VALUES (1, 'x');
    """)
    gone = add_embedding(dsn, connection, "gone", ("body",), model)
    modelless = add_embedding(dsn, connection, "modelless", ("body",), model)
    connection.execute("ALTER TABLE gone RENAME COLUMN body TO text")
    with pytest.raises(DatabaseError, match="'body'"):
        load_all(connection)

    def encoder_for(declaration: Declaration) -> Encoder:
        if declaration.table == "modelless":
            raise trouble
        return encoder

    stop = threading.Event()
    problems: list[DatabaseError] = []
    team = Team(dsn, stop, encoder_for)
    for _registered, progress in watch(team, lambda own: load_all(own, problems=problems)):
        if progress.encoded:
            stop.set()
    assert status(connection, articles).pending == 0
    assert status(connection, modelless).pending == 1
    assert "'body'" in str(problems[0])
    assert gone.declaration.table == "gone"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModelError("the files are gone"), "the files are gone"),
        (MemoryError("Unable to allocate 9 GiB"), "more memory than there is .*9 GiB"),
        (RuntimeError("the session is broken"), "no text at all .*the session is broken"),
    ],
)
def test_an_encoder_that_fails_at_every_text_blames_no_row(
    connection: Connection, articles: Registered, encoder: Encoder, error: Exception, said: str
) -> None:
    def fail(_texts: list[str]) -> None:
        raise error

    with pytest.raises(ModelError, match=said):
        list(sync_once(connection, articles, team_of(connection, Interrupted(encoder, fail))))
    found = status(connection, articles)
    assert (found.failed, found.pending) == (0, 20)
    assert drain(connection, articles).encoded == 20, "the rows were still leased"


def test_one_text_that_needs_more_memory_than_there_is_holds_up_no_other(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("UPDATE articles SET title = 'the great one' WHERE id = 7")

    def allocate(texts: list[str]) -> None:
        if any("great" in text for text in texts):
            raise MemoryError("Unable to allocate 9 GiB")

    team = team_of(connection, Interrupted(encoder, allocate))
    *_, last = sync_once(connection, articles, team)
    assert (last.encoded, last.left) == (19, 1)
    # There may be more memory one day: it is never parked.
    for attempts in range(1, 9):
        (failure,) = list_failures(connection, articles, most=2)
        assert (failure.key, failure.attempts, failure.parked) == ("7", attempts, False)
        assert "9 GiB" in failure.error
        (pause,) = connection.execute(
            "SELECT round(extract(epoch FROM retry_at - failed_at)) FROM gte.failure"
        ).fetchone() or (0,)
        assert pause == min(10 * 2 ** (attempts - 1), 80)
        connection.execute("UPDATE gte.failure SET retry_at = now()")
        list(sync_once(connection, articles, team))


def test_an_embedding_that_is_removed_meanwhile_is_no_trouble(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def remove(_texts: list[str]) -> None:
        removed = CliRunner().invoke(main, ["remove", "articles", "--dsn", dsn])
        assert removed.exit_code == 0, removed.output
        threading.Timer(1, stop.set).start()

    stop = threading.Event()
    team = Team(dsn, stop, lambda _declaration: Interrupted(encoder, remove))
    list(watch(team, load_all))
    assert load_all(connection) == []
    assert [record.getMessage() for record in caplog.records] == []


def test_a_backfill_and_fresh_rows_of_several_tables_go_on_side_by_side(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder, model: str
) -> None:
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    notes = add_embedding(dsn, connection, "notes", ("body",), model)
    order: list[str] = []

    def note(texts: list[str]) -> None:
        if not order:
            connection.execute("INSERT INTO notes VALUES (1, 'fresh')")
        order.extend(texts)
        if len(order) >= 21:
            stop.set()

    stop = threading.Event()
    slow = Interrupted(encoder, note)
    team = Team(dsn, stop, lambda _declaration: slow, workers=1, batch_rows=2)
    list(watch(team, load_all))
    assert order.index("fresh") < 10, "the backfill of another table was finished first"
    assert status(connection, notes).pending == 0


def test_what_is_written_is_searchable_within_a_second(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    stop = threading.Event()
    team = Team(dsn, stop, lambda _declaration: encoder)
    watching = threading.Thread(target=lambda: list(watch(team, load_all)))
    watching.start()
    try:
        assert wait_until_synced(connection, "articles", timeout=60)
        seconds = []
        for n in range(5):
            time.sleep(0.3)  # it has nothing to do by now
            begun = time.monotonic()
            connection.execute("UPDATE articles SET title = %s WHERE id = 7", (f"update {n}",))
            assert wait_until_synced(connection, "articles", timeout=60)
            seconds.append(time.monotonic() - begun)
    finally:
        stop.set()
        watching.join()
    # On a machine that is busy with something else one of them may take longer.
    assert min(seconds) < 1, seconds


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_where_it_takes_long_to_ask_for_the_embeddings_it_is_done_seldom(
    connection: Connection, articles: Registered
) -> None:
    team, asked = replace(team_of(connection), workers=1), 0

    def embeddings(_connection: Connection) -> list[Registered]:
        nonlocal asked
        asked += 1
        time.sleep(0.3)
        return [articles]

    threading.Timer(2.5, team.stop.set).start()
    list(watch(team, embeddings))
    assert asked == 1


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_who_watches_forgets_embeddings_that_are_gone(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[weakref.ref[Share]] = []

    class Noted(Share):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept.append(weakref.ref(self))

    monkeypatch.setattr("gte_pg.sync.members.Share", Noted)
    monkeypatch.setattr("gte_pg.sync.members._ASK_SECONDS", 0)
    team = replace(team_of(connection), workers=1)
    left: list[bool] = []

    def embeddings(_connection: Connection) -> list[Registered]:
        if kept:
            left.append(kept[0]() is not None)
        if len(left) == 3:
            team.stop.set()
        return [] if kept else [articles]

    list(watch(team, embeddings))
    assert left == [True, False, False]


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_a_row_that_stays_parked_is_no_news(
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *_, last = sync_once(connection, articles, team_of(connection))
    assert last.left == 0
    connection.execute("UPDATE articles SET title = 'parked' WHERE id = 1")
    list(Worker(connection, articles, Interrupted(encoder, _refuse)).rounds())
    assert status(connection, articles).parked == 1
    asked: list[Registered] = []

    def note(_connection: Connection, registered: Registered) -> int:
        asked.append(registered)
        return 1

    monkeypatch.setattr("gte_pg.sync.sync.count_pending", note)
    monkeypatch.setattr("gte_pg.sync.members._POLL_SECONDS", 0.01)
    team = replace(team_of(connection), workers=1)
    threading.Timer(1, team.stop.set).start()
    list(watch(team, lambda _: [articles]))
    assert asked == [articles]


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_who_is_told_to_stop_does_not_see_to_all_embeddings_first(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [articles, *(replace(articles, standby=True, id=articles.id + n) for n in range(1, 9))]
    team = team_of(connection)
    asked: list[Registered] = []

    def note(_connection: Connection, registered: Registered) -> int:
        asked.append(registered)
        time.sleep(0.5)  # the others are drained by now, and told of
        team.stop.set()
        return 0

    connection.execute("UPDATE articles SET title = NULL")
    assert drain(connection, articles).left == 0
    monkeypatch.setattr("gte_pg.sync.sync.count_pending", note)
    list(watch(team, lambda _: many))
    assert len(asked) == 1


def _refuse(texts: list[str]) -> None:
    if "parked" in texts:
        raise EncodingError("not today")
