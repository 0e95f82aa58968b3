"""An embedding of which nothing can be said hides no other."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, Registered
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    """A sound embedding between three that are not, for the role gte_pg_test_reader."""
    connection.execute(ARTICLES)
    connection.execute("""
        INSERT INTO articles VALUES (1, 'a cat');
        CREATE SCHEMA hidden;
        CREATE TABLE hidden.notes (id int PRIMARY KEY, body text);
        CREATE TABLE renamed (id int PRIMARY KEY, body text);
        CREATE TABLE secret (id int PRIMARY KEY, body text);
    """)
    for table in ("hidden.notes", "renamed"):
        add_embedding(dsn, connection, table, ("body",), model)
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    add_embedding(dsn, connection, "secret", ("body",), model)
    connection.execute("""
        ALTER TABLE renamed RENAME COLUMN body TO text;
        DO $$ BEGIN
            CREATE ROLE gte_pg_test_reader;
        EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        GRANT USAGE ON SCHEMA gte TO gte_pg_test_reader;
        GRANT SELECT ON ALL TABLES IN SCHEMA gte TO gte_pg_test_reader;
        GRANT SELECT ON articles TO gte_pg_test_reader;
    """)
    return registered


@pytest.mark.parametrize("command", [("status", "--json"), ("sync", "--check")])
def test_what_can_be_said_of_the_others_is_said(
    dsn: str, connection: Connection, articles: Registered, command: tuple[str, ...]
) -> None:
    drain(connection, articles)
    limited = make_conninfo(dsn, options="-c role=gte_pg_test_reader")
    asked = CliRunner().invoke(main, [*command, "--dsn", limited])
    assert asked.exit_code == 1
    assert json.loads(asked.stdout)["table"] == "public.articles"
    for problem in (
        "schema hidden. Let it: GRANT USAGE",
        "'body', which is no longer there",
        "public.secret",
    ):
        assert problem in asked.stderr


def test_a_watcher_says_once_that_one_cannot_be_loaded(dsn: str, articles: Registered) -> None:
    watcher = subprocess.Popen(
        [sys.executable, "-m", "gte_pg", "sync", "--watch", "--dsn", dsn],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stdout is not None
    done = json.loads(watcher.stdout.readline())
    time.sleep(2.5)
    watcher.send_signal(signal.SIGTERM)
    _, said = watcher.communicate(timeout=30)
    assert (done["table"], done["encoded"]) == ("public.articles", 1)
    assert said.count("which is no longer there") == 1, said
