"""Rows that the application's constraints or triggers let nobody update: they hold up no other row."""

from __future__ import annotations

import psycopg
import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, load
from gte_pg.declaration import Layout, OnChange
from gte_pg.encoder import Encoder
from gte_pg.sync import Failure, Round, Worker, count_broken, list_failures, retry_failures, status
from tests.tables import ARTICLES, add_embedding, drain, rows

_FILL = "INSERT INTO articles SELECT n, 'title ' || n, 'body', n % 5 FROM generate_series(1, 20) n"

_IS_UNLIKED = "CHECK (likes <> 4) NOT VALID"

_TRIGGER = """
CREATE FUNCTION closed() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN IF OLD.likes = 4 THEN {}; END IF; RETURN NEW; END
$body$;
CREATE TRIGGER closed BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION closed()
"""


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(ARTICLES)
    connection.execute(_FILL.encode())
    connection.execute("INSERT INTO articles (id, likes) VALUES (24, 4), (25, 0)")
    return add_embedding(dsn, connection, "articles", ("title",), model)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (f"ALTER TABLE articles ADD CONSTRAINT unliked {_IS_UNLIKED}", 'constraint "unliked"'),
        (_TRIGGER.format("RAISE 'this one is closed'"), "this one is closed"),
        (
            _TRIGGER.format("RAISE 'this one is closed' USING ERRCODE = 'AP042'"),
            "this one is closed",
        ),
        (_TRIGGER.format("RAISE insufficient_privilege"), "insufficient_privilege"),
        (_TRIGGER.format("RETURN NULL"), "suppresses every UPDATE of this row"),
    ],
    ids=["constraint", "trigger", "own code", "Postgres' code", "suppressed"],
)
def test_the_others_are_written(
    connection: Connection, articles: Registered, refusal: str, error: str
) -> None:
    connection.execute(refusal.encode())
    done = drain(connection, articles)
    assert (done.encoded, done.failed, done.left) == (16, 5, 5)
    closed = rows(connection, "SELECT id FROM articles WHERE embedding_pending IS NOT NULL")
    assert sorted(closed) == [(4,), (9,), (14,), (19,), (24,)]
    failures = list_failures(connection, articles, most=10)
    assert {failure.key for failure in failures} == {"4", "9", "14", "19", "24"}
    assert all(error in failure.error and not failure.parked for failure in failures)
    again = drain(connection, articles)
    assert (again.encoded, again.failed, again.left) == (0, 0, 5), "they were tried again at once"
    assert count_broken(connection, articles) == 0


def test_a_trigger_may_undo_an_update_too(connection: Connection, articles: Registered) -> None:
    connection.execute(_TRIGGER.format("RETURN OLD").encode())
    done = drain(connection, articles)
    # The row without text is as it should be without the worker's UPDATE.
    assert (done.encoded, done.failed, done.left) == (16, 4, 4)
    failures = list_failures(connection, articles, most=10)
    assert {failure.key for failure in failures} == {"4", "9", "14", "19"}
    assert all("NULL or OLD" in failure.error for failure in failures)


def test_they_are_parked_until_somebody_says_that_they_may(
    connection: Connection, articles: Registered
) -> None:
    connection.execute(f"ALTER TABLE articles ADD CONSTRAINT unliked {_IS_UNLIKED}".encode())
    for attempt in range(1, 6):
        drain(connection, articles)
        found = status(connection, articles)
        assert (found.failed, found.parked) == ((5, 0) if attempt < 5 else (0, 5))
        connection.execute("UPDATE gte.failure SET retry_at = now() WHERE retry_at IS NOT NULL")
    connection.execute("ALTER TABLE articles DROP CONSTRAINT unliked")
    assert drain(connection, articles).left == 5
    assert retry_failures(connection, articles) == 5
    done = drain(connection, articles)
    assert (done.encoded, done.left) == (4, 0)
    assert not list(rows(connection, "SELECT FROM gte.failure"))


def test_nothing_of_the_row_is_told(connection: Connection, articles: Registered) -> None:
    connection.execute(f"ALTER TABLE articles ADD CONSTRAINT unliked {_IS_UNLIKED}".encode())
    drain(connection, articles)
    told = 'new row for relation "articles" violates check constraint "unliked"'
    assert Failure("4", 1, told, False) in list_failures(connection, articles, most=10)


def test_what_is_no_row_s_fault_blames_none(connection: Connection, articles: Registered) -> None:
    connection.execute(_TRIGGER.format("PERFORM no_such_function()").encode())
    with pytest.raises(psycopg.errors.UndefinedFunction):
        drain(connection, articles)
    assert not list(rows(connection, "SELECT FROM gte.failure"))


@pytest.mark.parametrize("on_change", ["clear", "keep"])
def test_a_worker_that_knows_the_former_text_only_blames_no_row(
    dsn: str,
    connection: Connection,
    model: str,
    encoder: Encoder,
    layout: Layout,
    on_change: OnChange,
) -> None:
    connection.execute(ARTICLES)
    connection.execute(_FILL.encode())
    former = add_embedding(
        dsn, connection, "articles", ("title",), model, layout=layout, on_change=on_change
    )
    drain(connection, former)
    alter = ["alter", "articles", "--source", "title,body", "--dsn", dsn]
    assert CliRunner().invoke(main, alter).exit_code == 0
    late = Worker(connection, former, encoder)
    assert late.round() == Round(encoded=0, failed=0, left=20)
    present = load(connection, "articles")
    assert count_broken(connection, present) == 0
    assert drain(connection, present).encoded == 20
