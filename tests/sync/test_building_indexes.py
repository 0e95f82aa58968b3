from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, check_unchanged, connect, load, load_all
from gte_pg.declaration import (
    Layout,
    dense_index_name,
    pending_index,
    token_index_name,
)
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError
from gte_pg.sync import Limit, Team, status, sync_once, wait_until_synced, watch
from gte_pg.sync.indexes import (
    build_index,
    is_missing,
    may_build_indexes,
    missing_search_indexes,
    update_statistics,
)
from gte_pg.sync.key_frequencies import is_due, refresh_key_frequencies
from tests.roles import make_role
from tests.tables import ARTICLES, add_embedding, drain, index_being_built, team_of

_VALID = """
SELECT indexrelid::regclass::text, indisvalid FROM pg_index
WHERE indrelid = 'articles'::regclass AND NOT indisprimary ORDER BY 1
"""


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) n")
    return add_embedding(dsn, connection, "articles", ("title",), model)


def test_the_search_indexes_come_after_the_vectors(
    connection: Connection, articles: Registered
) -> None:
    assert connection.execute(_VALID).fetchall() == []
    found = []
    for progress in sync_once(connection, articles, team_of(connection)):
        found.append((progress.stage, [name for name, _ in connection.execute(_VALID)]))
    queue = "articles_embedding_pending"
    assert found[:2] == [("indexing", []), ("encoding", [queue])]
    assert ("indexing", [queue]) in found
    assert connection.execute(_VALID).fetchall() == [
        (dense_index_name(articles.declaration), True),
        ("articles_embedding_pending", True),
        (token_index_name(articles.declaration), True),
    ]


@pytest.mark.parametrize("limit", [0, 7])
def test_a_limit_leaves_the_search_indexes_to_who_encodes_the_last_row(
    connection: Connection, articles: Registered, limit: int
) -> None:
    team = replace(team_of(connection), limit=Limit(limit))
    *_, done = sync_once(connection, articles, team)
    assert (done.encoded, done.left) == (limit, 20 - limit)
    assert connection.execute(_VALID).fetchall() == [("articles_embedding_pending", True)]
    team.limit.give_back(20 - limit)
    *_, done = sync_once(connection, articles, team)
    assert (team.limit.rows, done.left) == (0, 0)
    assert len(connection.execute(_VALID).fetchall()) == 3


def test_a_build_that_was_cancelled_is_repaired(
    connection: Connection, articles: Registered
) -> None:
    connection.execute("UPDATE articles SET embedding = NULL")  # all rows stay pending
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY articles_embedding_dense ON articles (likes)"
        )
    assert ("articles_embedding_dense", False) in connection.execute(_VALID).fetchall()
    drain(connection, articles)
    assert ("articles_embedding_dense", True) in connection.execute(_VALID).fetchall()
    definition = connection.execute(
        "SELECT pg_get_indexdef('articles_embedding_dense'::regclass)"
    ).fetchone()
    assert definition is not None
    assert "hnsw" in definition[0]


@pytest.mark.parametrize("forever", [False, True], ids=["once", "watch"])
def test_who_is_told_to_stop_leaves_the_build_to_postgres(
    dsn: str, connection: Connection, articles: Registered, forever: bool
) -> None:
    team = team_of(connection)

    def work() -> None:
        with connect(dsn) as own:
            if forever:
                list(watch(team, lambda _connection: [articles]))
            else:
                list(sync_once(own, articles, team))

    with connect(dsn) as application:
        application.execute("BEGIN; UPDATE articles SET likes = 1 WHERE id = 1")
        worker = threading.Thread(target=work)
        worker.start()
        while ("articles_embedding_pending", False) not in connection.execute(_VALID).fetchall():
            time.sleep(0.01)
        team.stop.set()
        worker.join(10)
        assert not worker.is_alive()
        assert ("articles_embedding_pending", False) in connection.execute(_VALID).fetchall()
        application.rollback()
    while ("articles_embedding_pending", True) not in connection.execute(_VALID).fetchall():
        time.sleep(0.01)
    assert drain(connection, articles).encoded == 20


def test_an_index_that_could_not_be_built_is_built_later(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gte_pg.sync.share._LOOK_SECONDS", 0.2)
    monkeypatch.setattr("gte_pg.sync.sync._PAUSE_AFTER_FAILURE", 0.2)
    team = team_of(connection)
    for name in ("articles_embedding_dense", f"articles_embedding_dense_{articles.id}"):
        connection.execute(f"CREATE VIEW {name} AS SELECT 1".encode())
    watching = threading.Thread(target=lambda: list(watch(team, lambda _connection: [articles])))
    watching.start()
    try:
        assert wait_until_synced(connection, "articles", timeout=30)
        time.sleep(0.5)
        connection.execute("DROP VIEW articles_embedding_dense")  # and nothing is written any more
        until = time.monotonic() + 30
        while ("articles_embedding_dense", True) not in connection.execute(_VALID).fetchall():
            assert time.monotonic() < until, "it is not built"
            time.sleep(0.05)
    finally:
        team.stop.set()
        watching.join()


def test_an_index_takes_a_name_that_is_free(connection: Connection, articles: Registered) -> None:
    other = f"articles_embedding_pending_{articles.id}"
    connection.execute("CREATE VIEW articles_embedding_pending AS SELECT 1")
    connection.execute(f"CREATE VIEW {other} AS SELECT 1".encode())
    with pytest.raises(DatabaseError, match=f'"{other}" cannot be built: something else'):
        drain(connection, articles)
    connection.execute(f"DROP VIEW {other}".encode())
    assert drain(connection, articles).encoded == 20
    assert (other, True) in connection.execute(_VALID).fetchall()


def test_the_index_of_a_table_that_had_the_name_before_is_left_alone(
    dsn: str, connection: Connection, articles: Registered, model: str
) -> None:
    drain(connection, articles)
    connection.execute("ALTER TABLE articles RENAME TO articles_2025")
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'new')")
    new = add_embedding(dsn, connection, "articles", ("title",), model)
    assert drain(connection, new).encoded == 1
    indexes = "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisvalid"
    for table in ("articles", "articles_2025"):
        assert connection.execute(indexes, (table,)).fetchone() == (4,)


def test_an_index_is_known_by_what_it_indexes(connection: Connection, articles: Registered) -> None:
    drain(connection, articles)
    connection.execute("ALTER TABLE articles RENAME TO essays")
    connection.execute("DROP INDEX articles_embedding_dense")
    held = f"(embedding::halfvec({articles.declaration.dimensions}))"
    connection.execute(
        f"CREATE INDEX mine ON essays USING hnsw ({held} halfvec_ip_ops) WITH (m = 8)".encode()
    )
    renamed = load(connection, "essays")
    assert missing_search_indexes(connection, renamed.declaration) == []
    connection.execute("DROP INDEX mine")
    for other in (
        "embedding vector_ip_ops",
        f"{held} halfvec_cosine_ops",
        "(subvector(embedding, 1, 8)::halfvec(8)) halfvec_cosine_ops",
        f"{held} halfvec_ip_ops) WHERE (likes > 0",
    ):
        connection.execute(f"CREATE INDEX ON essays USING hnsw ({other})".encode())
    (missing,) = missing_search_indexes(connection, renamed.declaration)
    assert missing.method == "hnsw"


def test_only_an_index_of_all_pending_rows_is_the_queue(
    connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    queue, declaration = pending_index(articles.declaration), articles.declaration
    connection.execute("DROP INDEX articles_embedding_pending")
    for other in (
        "(embedding_pending) WHERE embedding_pending > timestamptz '2026-01-01 00:00+00'",
        "(id, embedding_pending) WHERE embedding_pending IS NOT NULL",
        "(embedding_pending)",
    ):
        connection.execute(f"CREATE INDEX ON articles {other}".encode())
        assert is_missing(connection, declaration, queue), other
    connection.execute(
        "CREATE INDEX ON articles (embedding_pending) WHERE embedding_pending IS NOT NULL"
    )
    assert not is_missing(connection, declaration, queue)


def test_two_syncs_do_not_take_each_other_s_index_for_a_leftover(
    connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    connection.execute("DROP INDEX articles_embedding_dense")
    (missing,) = missing_search_indexes(connection, articles.declaration)
    with index_being_built(connection, "articles"):
        assert not build_index(connection, articles, missing)
    assert build_index(connection, articles, missing)
    assert missing_search_indexes(connection, articles.declaration) == []


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_adding_an_embedding_reads_no_row(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    """It has the table for itself: what it does there takes as long for many rows as for few."""
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title' FROM generate_series(1, 5000) n")
    reads = "SELECT pg_stat_force_next_flush(), pg_stat_get_tuples_returned('articles'::regclass)"
    before = connection.execute(reads).fetchone()
    add_embedding(dsn, connection, "articles", ("title",), model, layout=layout, copied=False)
    assert connection.execute(reads).fetchone() == before


def test_a_build_may_take_longer_than_other_statements(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    connection.execute("DROP INDEX articles_embedding_dense")
    (missing,) = missing_search_indexes(connection, articles.declaration)
    limits = {"statement_timeout": "300ms", "lock_timeout": "200ms", "maintenance_work_mem": "16MB"}
    limited = make_conninfo(dsn, options=" ".join(f"-c {name}={limits[name]}" for name in limits))
    with connect(dsn) as old, connect(limited) as builder:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT")
        thread = threading.Thread(target=build_index, args=(builder, articles, missing))
        thread.start()
        waiting = (
            "SELECT FROM pg_stat_progress_create_index WHERE phase = 'waiting for old snapshots'"
        )
        while thread.is_alive() and not connection.execute(waiting).fetchall():
            time.sleep(0.01)
        thread.join(timeout=1)
        old.rollback()
        thread.join()
        assert missing_search_indexes(connection, articles.declaration) == []
        found = {name: builder.execute(f"SHOW {name}".encode()).fetchone() for name in limits}
        assert found == {name: (value,) for name, value in limits.items()}


def test_many_that_begin_at_once_build_it_once(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    """Processes that are started together, as replicas are; each tries until it is there."""
    script = f"""
import sys
from gte_pg.database import connect, load
from gte_pg.declaration import pending_index
from gte_pg.sync.indexes import build_index
with connect({dsn!r}) as connection:
    articles = load(connection, "articles")
    sys.stdin.readline()
    while not build_index(connection, articles, pending_index(articles.declaration)):
        pass
"""
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE) for _ in range(4)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
    assert [process.wait(60) for process in started] == [0] * 4
    assert connection.execute(_VALID).fetchall() == [("articles_embedding_pending", True)]


def test_an_index_that_another_has_built_in_the_meantime_is_left_alone(
    dsn: str,
    connection: Connection,
    articles: Registered,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    queue = pending_index(articles.declaration)

    def come_late(own: Connection, registered: Registered) -> None:
        monkeypatch.setattr("gte_pg.sync.indexes.check_unchanged", check_unchanged)
        with connect(dsn) as other:
            assert build_index(other, registered, queue)

    monkeypatch.setattr("gte_pg.sync.indexes.check_unchanged", come_late)
    assert build_index(connection, articles, queue)
    assert [record.getMessage() for record in caplog.records] == [], "it was dropped and made anew"


def test_a_worker_that_does_not_own_the_table_says_so_and_works_on(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.indexes._told", set())
    make_role(connection, "gte_pg_test_worker")
    connection.execute("""
        GRANT ALL ON articles TO gte_pg_test_worker;
        GRANT USAGE ON SCHEMA gte TO gte_pg_test_worker;
        GRANT ALL ON ALL TABLES IN SCHEMA gte TO gte_pg_test_worker;
    """)
    limited = make_conninfo(dsn, options="-c role=gte_pg_test_worker")
    team = Team(limited, threading.Event(), lambda _: encoder)
    with connect(limited) as own:
        *_, last = sync_once(own, articles, team)
    assert (last.encoded, last.left) == (20, 0)
    connection.execute("UPDATE articles SET title = 'again'")
    for _, progress in watch(team, load_all):
        if progress.stage == "done" and not progress.left:
            break
    assert status(connection, articles).encoded == 20
    assert connection.execute(_VALID).fetchall() == []
    assert [one.getMessage() for one in caplog.records if "only its owner" in one.getMessage()]
    assert drain(connection, articles).left == 0
    assert len(connection.execute(_VALID).fetchall()) == 3


def test_a_table_that_is_gone_is_not_said_to_lack_indexes(
    connection: Connection,
    articles: Registered,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.indexes._told", set())
    connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(articles.declaration.vectors))
    assert not may_build_indexes(connection, articles.declaration)
    assert caplog.records == []


def test_a_companion_has_the_search_indexes(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one')")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout="companion")
    drain(connection, registered)
    names = connection.execute(
        "SELECT indexname FROM pg_indexes WHERE tablename = 'articles_embedding' ORDER BY 1"
    ).fetchall()
    assert [name for (name,) in names] == [
        "articles_embedding_dense", "articles_embedding_pending", "articles_embedding_pkey",
        "articles_embedding_tokens",
    ]  # fmt: skip


def test_the_keys_of_a_large_table_are_counted_from_a_sample(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(connection, articles)
    connection.execute(
        "INSERT INTO articles SELECT n, title, body, likes, embedding, embedding_sparse, embedding_hash, "
        "embedding_pending FROM articles, generate_series(21, 6000) AS n WHERE id = 1"
    )
    connection.execute("ANALYZE articles")
    monkeypatch.setattr("gte_pg.sync.key_frequencies._SAMPLE_ROWS", 200)
    reads = "SELECT pg_stat_force_next_flush(), pg_stat_get_tuples_returned('articles'::regclass)"
    before = connection.execute(reads).fetchone()
    refresh_key_frequencies(connection, articles)
    after = connection.execute(reads).fetchone()
    assert before is not None
    assert after is not None
    assert after[1] - before[1] < 2_000
    most = connection.execute("SELECT max(rows) FROM gte.key_frequency").fetchone()
    assert most is not None
    # Some 200 rows were looked at, of pages taken at random.
    assert 800 < most[0] < 30_000


def test_keys_are_counted_anew_once_for_a_twentieth_of_the_table(
    connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    connection.execute("INSERT INTO articles (id) SELECT * FROM generate_series(21, 1000)")
    connection.execute("ANALYZE articles")
    assert is_due(connection, articles, 50)
    assert not is_due(connection, articles, 0)
    assert 40 < sum(is_due(connection, articles, 5) for _ in range(1000)) < 200


def test_key_frequencies_are_counted(connection: Connection, articles: Registered) -> None:
    drain(connection, articles)
    counted = connection.execute("SELECT key, rows FROM gte.key_frequency").fetchall()
    true = connection.execute("""
        SELECT key, count(*)::real FROM articles,
            unnest(gte.sparse_keys(embedding_sparse, 0.25)) AS key
        GROUP BY key HAVING count(*) > 1
    """).fetchall()
    assert sorted(counted) == sorted(true)
    assert counted


def test_two_workers_may_count_the_keys_at_once(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    connection.execute("DELETE FROM gte.key_frequency")
    with connect(dsn) as other, other.transaction():
        refresh_key_frequencies(other, articles)
        thread = threading.Thread(target=refresh_key_frequencies, args=(connection, articles))
        thread.start()
        # It waits for the first, which has counted the same keys.
        thread.join(timeout=0.5)
        assert thread.is_alive()
    thread.join()
    with connect(dsn) as other:
        counted = other.execute("SELECT count(*), sum(rows) FROM gte.key_frequency").fetchone()
        refresh_key_frequencies(other, articles)
        again = other.execute("SELECT count(*), sum(rows) FROM gte.key_frequency").fetchone()
    assert counted == again
    assert counted != (0, None)


def test_keys_that_another_is_counting_are_left_to_them(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    with connect(dsn) as other, other.transaction():
        refresh_key_frequencies(other, articles)
        thread = threading.Thread(target=refresh_key_frequencies, args=(connection, articles))
        thread.start()
        thread.join(timeout=4)
        assert not thread.is_alive()


def test_keys_may_take_longer_to_count_than_other_statements(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    limited = make_conninfo(dsn, options="-c statement_timeout=300ms")
    ended: list[bool] = []

    def count() -> None:
        refresh_key_frequencies(own, articles)
        ended.append(True)

    with connect(dsn) as other, connect(limited) as own:
        thread = threading.Thread(target=count)
        with other.transaction():
            refresh_key_frequencies(other, articles)
            thread.start()
            thread.join(timeout=0.7)
        thread.join()
    assert ended


def test_statistics_may_take_longer_than_other_statements(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("""
        CREATE FUNCTION slow(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
            'BEGIN PERFORM pg_sleep(0.02); RETURN $1; END';
        CREATE INDEX ON articles (slow(id))
    """)
    with connect(make_conninfo(dsn, options="-c statement_timeout=200ms")) as own:
        update_statistics(own, articles.declaration)
