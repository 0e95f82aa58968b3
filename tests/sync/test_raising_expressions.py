"""Rows for which the expression raises, which were there before it: they hold up no other row."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered
from gte_pg.declaration import Layout
from gte_pg.errors import DatabaseError
from gte_pg.sync import count_broken, list_failures, repair, retry_failures, status
from tests.tables import add_embedding, drain


@pytest.fixture
def songs(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    connection.execute("CREATE TABLE songs (id int PRIMARY KEY, meta text, plays int DEFAULT 0)")
    connection.execute("""
        INSERT INTO songs SELECT n, json_build_object('title', 'song ' || n) FROM generate_series(1, 20) n;
        INSERT INTO songs VALUES (21, 'not json'), (22, '{"title": ""}'), (7, 'no json either')
        ON CONFLICT (id) DO UPDATE SET meta = excluded.meta
    """)
    title = "{meta}::jsonb ->> 'title'"
    return add_embedding(dsn, connection, "songs", (), model, expression=title, layout=layout)


def test_they_are_set_apart_until_they_are_written(
    connection: Connection, songs: Registered
) -> None:
    done = drain(connection, songs)
    assert (done.encoded, done.failed, done.left) == (19, 2, 2)
    failures = list_failures(connection, songs, most=10)
    assert {failure.key for failure in failures} == {"7", "21"}
    told = "its text cannot be made: invalid input syntax for type json"
    assert all(failure.error == told and not failure.parked for failure in failures)
    again = drain(connection, songs)
    assert (again.failed, again.left) == (0, 2), "they were tried again at once"
    for _ in range(4):
        connection.execute("UPDATE gte.failure SET retry_at = now()")
        drain(connection, songs)
    now = status(connection, songs)
    assert (now.encoded, now.pending, now.failed, now.parked) == (19, 2, 0, 2)
    connection.execute('UPDATE songs SET meta = \'{"title": "a song"}\' WHERE id = 7')
    assert status(connection, songs).parked == 1
    done = drain(connection, songs)
    assert (done.encoded, done.left) == (1, 1)
    assert retry_failures(connection, songs) == 1
    assert drain(connection, songs).failed == 1


def test_other_tables_are_encoded_and_all_are_told_of(
    dsn: str, connection: Connection, songs: Registered, model: str
) -> None:
    connection.execute("CREATE TABLE later (id int PRIMARY KEY, body text)")
    add_embedding(dsn, connection, "later", ("body",), model)
    connection.execute("INSERT INTO later VALUES (1, 'a dog')")
    synced = CliRunner().invoke(main, ["sync", "--dsn", dsn])
    assert (synced.exit_code, "2 rows are still pending" in synced.stderr) == (1, True)
    assert connection.execute("SELECT count(embedding) FROM later").fetchone() == (1,)
    told = CliRunner().invoke(main, ["status", "--dsn", dsn])
    assert told.exit_code == 0, told.output
    assert "row 21, will be retried: its text cannot be made" in told.stdout
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert checked.exit_code == 0, checked.output


def test_one_that_went_past_the_triggers_is_broken_unless_it_is_pending(
    connection: Connection, songs: Registered
) -> None:
    drain(connection, songs)
    connection.execute("""
        ALTER TABLE songs DISABLE TRIGGER USER;
        UPDATE songs SET meta = 'not json' WHERE id <= 2;
        UPDATE songs SET meta = '{"title": "other"}' WHERE id = 3;
    """)
    vectors = songs.declaration.vectors.as_string()
    later = f"UPDATE {vectors} SET embedding_pending = now() WHERE embedding_pending IS NOT NULL"
    connection.execute(later.encode())
    assert count_broken(connection, songs) == 3
    with pytest.raises(
        DatabaseError, match="2 rows .* stay broken.* invalid input syntax for type json"
    ):
        repair(connection, songs)
    assert count_broken(connection, songs) == 2
    assert drain(connection, songs).encoded == 1
