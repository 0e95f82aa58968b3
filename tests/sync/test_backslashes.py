"""A database with `standard_conforming_strings = off`, in which a backslash in a string is an escape."""

from __future__ import annotations

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect
from gte_pg.declaration import Layout
from gte_pg.sync import count_broken, missing_triggers, repair
from tests.tables import add_embedding, drain

LINES = r"regexp_replace({body}, '(\w)\n', '\1 ')"


@pytest.fixture
def notes(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    change = "ALTER DATABASE {} SET standard_conforming_strings = off"
    connection.execute(sql.SQL(change).format(sql.Identifier(connection.info.dbname)))
    with connect(dsn) as own:
        return add_embedding(dsn, own, "notes", (), model, expression=LINES, layout=layout)


def test_rows_are_encoded_all_the_same(dsn: str, notes: Registered) -> None:
    with psycopg.connect(dsn) as application:
        application.execute("INSERT INTO notes SELECT n, E'a\nb' FROM generate_series(1, 3) n")
        application.execute("UPDATE notes SET body = 'other' WHERE id = 1")
    with connect(dsn) as own:
        assert drain(own, notes).encoded == 3
        assert count_broken(own, notes) == 0
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert checked.exit_code == 0, checked.output
    with psycopg.connect(dsn) as application:
        application.execute("UPDATE notes SET body = E'a\nb ' WHERE id = 1")
    with connect(dsn) as own:
        assert count_broken(own, notes) == 0


def test_a_function_that_is_read_as_the_application_reads_it_is_made_anew(
    connection: Connection, notes: Registered
) -> None:
    found = "SELECT tgfoid::regprocedure FROM pg_trigger WHERE tgrelid = 'notes'::regclass"
    (function,) = connection.execute(f"{found} AND tgname LIKE '~gte%'".encode()).fetchone() or (
        "",
    )
    connection.execute(f"ALTER FUNCTION {function} RESET standard_conforming_strings".encode())
    assert missing_triggers(connection, notes)
    repair(connection, notes)
    assert missing_triggers(connection, notes) == []
