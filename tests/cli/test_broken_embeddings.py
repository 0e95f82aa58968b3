"""An embedding of which nothing can be said hides no other."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, load_all
from tests.roles import make_role
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
    make_role(connection, "gte_pg_test_reader")
    connection.execute("""
        ALTER TABLE renamed RENAME COLUMN body TO text;
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


def test_one_whose_model_is_gone_stops_no_sync_of_others(
    dsn: str, connection: Connection, model: str, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    for table, path in (("first", str(copy)), ("second", model)):
        connection.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, body text)".encode())
        connection.execute(f"INSERT INTO {table} VALUES (1, 'a cat')".encode())
        add_embedding(dsn, connection, table, ("body",), path)
    shutil.rmtree(copy)
    done = CliRunner().invoke(main, ["sync", "--dsn", dsn])
    assert (done.exit_code, str(copy) in done.stderr) == (1, True)
    encoded = "SELECT embedding IS NOT NULL FROM second"
    assert connection.execute(encoded).fetchone() == (True,)


def test_a_table_that_took_the_companion_s_name_is_not_dropped(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    add_embedding(dsn, connection, "notes", ("body",), model, layout="companion")
    connection.execute("DROP TABLE notes_embedding; CREATE TABLE notes_embedding (precious text)")
    removed = CliRunner().invoke(main, ["remove", "notes", "--dsn", dsn])
    assert removed.exit_code == 0, removed.output
    assert connection.execute("SELECT to_regclass('notes_embedding') IS NOT NULL").fetchone() == (
        True,
    )
    arguments = ["add", "notes", "--source", "body", "--model", model, "--layout", "companion"]
    refused = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert (refused.exit_code, "which there is already" in refused.stderr) == (1, True)
    assert load_all(connection, "notes") == []
