from __future__ import annotations

import sys
import threading

import numpy as np
import psycopg
import pytest

from gte_pg.database import Connection, Registered, connect
from gte_pg.declaration import Layout, pending_index
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError, ModelError
from gte_pg.sync import (
    Round,
    Worker,
    retry_failures,
    status,
    sync_once,
)
from gte_pg.sync.indexes import build_index
from gte_pg.sync.read import Reader
from tests.roles import make_role
from tests.tables import ARTICLES, Interrupted, add_embedding, broken_rows, drain, team_of


def vectors_of(registered: Registered) -> str:
    """The table that holds the vectors, as SQL."""
    return registered.declaration.vectors.as_string()


def test_every_row_gets_the_vector_of_its_text(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("INSERT INTO articles VALUES (0, 'both', 'columns'), (-1, NULL, '')")
    last = drain(connection, articles)
    assert (last.encoded, last.left) == (21, 0)
    rows = connection.execute(
        "SELECT concat_ws(E'\\n', a.title, a.body), v.embedding::real[], v.embedding_sparse::text "
        f"FROM articles AS a JOIN {vectors_of(articles)} AS v USING (id) "
        "WHERE id >= 0 ORDER BY id".encode()
    ).fetchall()
    expected = encoder.encode([text for text, _, _ in rows])
    np.testing.assert_allclose([dense for _, dense, _ in rows], expected.dense, atol=1e-6)
    assert expected.sparse is not None
    for place, (_, _, stored) in enumerate(rows):
        indices, weights = expected.sparse[place]
        pairs = (entry.split(":") for entry in stored.partition("/")[0].strip("{}").split(","))
        found = {int(index) - 1: float(weight) for index, weight in pairs}
        assert found == pytest.approx(dict(zip(indices.tolist(), weights.tolist(), strict=True)))


def test_a_second_sync_has_nothing_to_do(connection: Connection, articles: Registered) -> None:
    drain(connection, articles)
    assert drain(connection, articles).encoded == 0
    connection.execute("UPDATE articles SET title = 'changed' WHERE id IN (3, 4)")
    assert drain(connection, articles).encoded == 2


def test_twenty_updates_before_a_sync_are_one_encoding(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    drain(connection, articles)
    for n in range(20):
        connection.execute("UPDATE articles SET title = %s WHERE id = 7", (f"update {n}",))
    encoded: list[str] = []
    list(Worker(connection, articles, Interrupted(encoder, encoded.extend)).rounds())
    assert encoded == ["update 19"]


def test_nothing_is_locked_or_open_while_it_encodes(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    def write_meanwhile(_texts: list[str]) -> None:
        with connect(dsn) as application:
            application.execute("SET lock_timeout = '100ms'")
            application.execute("UPDATE articles SET likes = likes + 1")
            open_transactions = application.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND state = 'idle in transaction'"
            ).fetchone()
            assert open_transactions == (0,)

    worker = Worker(connection, articles, Interrupted(encoder, write_meanwhile))
    assert [done.encoded for done in worker.rounds()] == [20]


@pytest.mark.parametrize(
    ("meanwhile", "left"),
    [
        ("UPDATE articles SET title = 'changed' WHERE id = 7", 1),
        ("UPDATE articles SET title = NULL WHERE id = 7", 0),
        ("DELETE FROM articles WHERE id = 7", 0),
        ("TRUNCATE articles", 0),
        ("UPDATE articles SET id = 1007 WHERE id = 7", 1),
    ],
)
def test_a_row_that_changes_while_it_is_encoded_never_gets_the_old_vector(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    meanwhile: str,
    left: int,
) -> None:
    def write(texts: list[str]) -> None:
        if len(texts) == 20:
            with connect(dsn) as application:
                application.execute(meanwhile.encode())

    worker = Worker(connection, articles, Interrupted(encoder, write))
    rounds = worker.rounds()
    next(rounds)
    assert status(connection, articles).pending == left
    assert broken_rows(connection, articles.declaration) == 0
    list(rounds)
    assert status(connection, articles).pending == 0
    assert broken_rows(connection, articles.declaration) == 0


def test_rows_that_stay_held_are_not_encoded_again_and_again(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    encoded: list[str] = []
    worker = Worker(connection, articles, Interrupted(encoder, encoded.extend))
    with connect(dsn) as application:
        with application.transaction():
            held = f"SELECT FROM {vectors_of(articles)} WHERE id <= 5 FOR UPDATE"
            application.execute(held.encode())
            assert worker.round() == Round(encoded=15, failed=0, left=5)
            connection.execute("INSERT INTO articles VALUES (21, 'fresh')")
            assert worker.round() == Round(encoded=1, failed=0, left=0)
            assert worker.round() == Round(encoded=0, failed=0, left=5)
            assert len(encoded) == 21
        assert worker.round() == Round(encoded=5, failed=0, left=0)
        assert worker.round() is None


def test_a_worker_never_waits_for_an_application(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    with connect(dsn) as application, application.transaction():
        application.execute("UPDATE articles SET title = 'changed' WHERE id = 7")
        connection.execute("SET statement_timeout = '5s'")
        done = next(Worker(connection, articles, encoder).rounds())
        assert done == Round(encoded=19, failed=0, left=1)


def test_a_row_that_cannot_be_encoded_stands_alone(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    def refuse(texts: list[str]) -> None:
        if any(text == "title 13" for text in texts):
            raise EncodingError("unlucky")

    broken = Interrupted(encoder, refuse)
    *_, last = sync_once(connection, articles, team_of(connection, broken))
    assert (last.encoded, last.failed, last.left) == (19, 1, 1)
    assert status(connection, articles).parked == 1
    errors = connection.execute("SELECT key, attempts, error FROM gte.failure").fetchall()
    assert errors == [("13", 1, "unlucky")]
    assert drain(connection, articles).encoded == 0, "a parked row was tried again"
    connection.execute("UPDATE articles SET title = 'better' WHERE id = 13")
    assert Worker(connection, articles, encoder).round() == Round(encoded=1, failed=0, left=0)
    assert connection.execute("SELECT FROM gte.failure").fetchall() == []


def test_a_parked_row_is_tried_again_when_asked(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    def refuse(texts: list[str]) -> None:
        if any("title" in text for text in texts):
            raise EncodingError("not today")

    list(Worker(connection, articles, Interrupted(encoder, refuse)).rounds())
    assert status(connection, articles).parked == 20
    assert retry_failures(connection, articles, ["3", "4"]) == 2
    assert drain(connection, articles).encoded == 2
    assert retry_failures(connection, articles) == 18
    assert drain(connection, articles).encoded == 18


def test_an_unexpected_error_is_retried_later_before_the_row_is_parked(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    def crash(texts: list[str]) -> None:
        if any("title" in text for text in texts):
            raise RuntimeError("out of luck")

    for attempt in range(1, 6):
        list(Worker(connection, articles, Interrupted(encoder, crash)).rounds())
        found = status(connection, articles)
        assert (found.failed, found.parked) == ((20, 0) if attempt < 5 else (0, 20))
        connection.execute("UPDATE gte.failure SET retry_at = now() WHERE retry_at IS NOT NULL")


def test_vectors_of_the_wrong_model_are_never_written(
    connection: Connection, articles: Registered, plain_model: str
) -> None:
    with pytest.raises(ModelError, match="its files have changed"):
        Worker(connection, articles, Encoder.load(plain_model))


def test_a_worker_and_a_truncate_do_not_wait_for_each_other(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    rounds: list[Round | None] = []
    worker = Worker(connection, articles, encoder)
    with connect(dsn) as application, application.transaction():
        application.execute("LOCK TABLE articles IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=lambda: rounds.append(worker.round()))
        thread.start()
        thread.join(timeout=0.5)
        assert thread.is_alive(), "it waits for the table, as any SELECT does"
        application.execute("SET LOCAL lock_timeout = '30s'")
        application.execute("TRUNCATE articles")
    thread.join()
    assert rounds == [None]


def test_a_table_of_millions_of_rows_is_not_read_to_know_how_far_it_is(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain(connection, articles)
    connection.execute("INSERT INTO articles VALUES (21, 'pending'), (22, NULL)")
    connection.execute(f"ANALYZE {vectors_of(articles)}".encode())
    exact = status(connection, articles)
    assert (exact.rows, exact.encoded, exact.pending, exact.estimated) == (22, 20, 1, False)
    monkeypatch.setattr(sys.modules["gte_pg.sync.status"], "_MOST_ROWS_COUNTED", 21)
    found = status(connection, articles)
    assert (found.rows, found.encoded, found.pending, found.estimated) == (22, 21, 1, True)


@pytest.mark.parametrize("copied", [True, False])
def test_rows_from_before_the_embedding_are_pending_since_it_was_declared(
    dsn: str, connection: Connection, model: str, layout: Layout, copied: bool
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'a cat'), (2, NULL)")
    articles = add_embedding(
        dsn, connection, "articles", ("title",), model, layout=layout, copied=copied
    )
    connection.execute("UPDATE gte.embedding SET created_at = now() - interval '1 hour'")
    connection.execute("INSERT INTO articles VALUES (3, 'a dog')")
    assert status(connection, articles).oldest_pending_seconds == pytest.approx(3_600, abs=60)
    drain(connection, articles)
    assert status(connection, articles).oldest_pending_seconds is None
    connection.execute("UPDATE articles SET title = 'a bird' WHERE id = 1")
    assert status(connection, articles).oldest_pending_seconds == pytest.approx(0, abs=60)


def test_fresh_rows_go_before_the_backfill_and_do_not_starve_it(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    order: list[str] = []
    connection.execute(
        "INSERT INTO articles SELECT n, 'fresh ' || n FROM generate_series(21, 40) n"
    )
    worker = Worker(connection, articles, Interrupted(encoder, order.extend), batch_rows=2)
    list(worker.rounds())
    assert all(text.startswith("fresh") for text in order[:14])
    assert any(text.startswith("title") for text in order[14:16])


def test_the_write_back_touches_nothing_else(connection: Connection, articles: Registered) -> None:
    before = connection.execute(
        "SELECT id, title, body, likes FROM articles ORDER BY id"
    ).fetchall()
    drain(connection, articles)
    after = connection.execute("SELECT id, title, body, likes FROM articles ORDER BY id").fetchall()
    assert before == after


def test_a_write_transaction_is_short_by_time(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("INSERT INTO articles SELECT n, 'x' FROM generate_series(21, 1000) n")
    connection.execute(
        f"""
        CREATE TABLE written (xid xid8);
        CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO written VALUES (pg_current_xact_id());
            PERFORM pg_sleep(0.002);
            RETURN NULL;
        END $$;
        CREATE TRIGGER audit AFTER UPDATE ON {vectors_of(articles)}
            FOR EACH ROW EXECUTE FUNCTION audit();
    """.encode()
    )
    worker = Worker(connection, articles, encoder, batch_rows=1_000)
    assert worker.round() == Round(encoded=980, failed=0, left=0)
    sizes = connection.execute("SELECT count(*) FROM written GROUP BY xid ORDER BY xid").fetchall()
    assert all(rows < 100 for (rows,) in sizes[3:]), sizes


def test_rows_that_a_policy_hides_are_an_error_not_done(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    make_role(connection, "gte_pg_test_worker")
    connection.execute("""
        GRANT ALL ON articles TO gte_pg_test_worker;
        GRANT ALL ON ALL TABLES IN SCHEMA gte TO gte_pg_test_worker;
        ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
        CREATE POLICY odd ON articles USING (id % 2 = 1);
    """)
    with connect(dsn) as limited:
        limited.execute("SET ROLE gte_pg_test_worker")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            list(Worker(limited, articles, encoder).rounds())


_SCANS = """
SELECT seq_scan, seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'articles'
"""


def test_a_round_reads_its_batch_and_not_the_table(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("INSERT INTO articles SELECT n, 'x' || n FROM generate_series(100, 5000) n")
    assert build_index(connection, articles, pending_index(articles.declaration))
    worker = Worker(connection, articles, encoder, batch_rows=10)
    counts = []
    for _ in range(2):
        connection.execute("SELECT pg_stat_force_next_flush()")
        counts.append(connection.execute(_SCANS).fetchone())
        next(worker.rounds())
    connection.execute("SELECT pg_stat_force_next_flush()")
    before, after = counts[1], connection.execute(_SCANS).fetchone()
    assert before is not None
    assert after is not None
    assert after[:2] == before[:2], "the whole table was read"
    assert after[2] - before[2] < 100


def test_the_write_back_undoes_what_the_application_s_triggers_do_to_it(
    dsn: str, connection: Connection, articles: Registered, model: str
) -> None:
    other = add_embedding(dsn, connection, "articles", ("body",), model, name="about")
    connection.execute("""
        ALTER TABLE articles ADD COLUMN updated_at timestamptz;
        CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.updated_at := clock_timestamp(); NEW.title := upper(NEW.title); RETURN NEW; END';
        UPDATE articles SET updated_at = '2000-01-01', body = 'body ' || id;
        CREATE TRIGGER stamp BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION stamp();
    """)
    assert drain(connection, articles).encoded == 20
    assert drain(connection, other).encoded == 20
    for registered in (articles, other):
        assert broken_rows(connection, registered.declaration) == 0
        assert status(connection, registered).encoded == 20
    assert connection.execute(
        "SELECT DISTINCT updated_at::date::text, title = lower(title) FROM articles"
    ).fetchall() == [("2000-01-01", True)]
    connection.execute("UPDATE articles SET likes = 1 WHERE id = 1")
    assert connection.execute(
        "SELECT updated_at > '2001-01-01', title FROM articles WHERE id = 1"
    ).fetchone() == (True, "TITLE 1")


def test_the_last_hour_s_speed_is_shown(connection: Connection, articles: Registered) -> None:
    assert status(connection, articles).rows_per_second == 0
    drain(connection, articles)
    assert status(connection, articles).rows_per_second > 0
    connection.execute("UPDATE gte.throughput SET minute = minute - interval '2 hours'")
    connection.execute("UPDATE articles SET title = 'x'")
    drain(connection, articles)
    counts = connection.execute("SELECT rows FROM gte.throughput").fetchall()
    assert counts == [(20,)], "what is over an hour old is forgotten"


def test_no_more_text_is_read_at_a_time_than_fits(
    connection: Connection, articles: Registered
) -> None:
    reader = Reader(connection, articles.declaration)
    connection.execute(
        "INSERT INTO articles SELECT n, repeat('x', 1_000_000) FROM generate_series(101, 200) n"
    )
    keys = [str(n) for n in range(101, 201)]
    parts = [len(part.texts) for part in reader.read_in_parts(keys)]
    assert sum(parts) == 100
    assert set(parts[1:]) == {4}, "4,000,000 characters"
    connection.execute("UPDATE articles SET title = 'short' WHERE id > 100")
    assert [len(part.texts) for part in reader.read_in_parts(keys)] == [4, 8, 16, 32, 40]
