"""A worker's role that lacks a right: it is told which, and takes nothing that it does not see for done."""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from typing import Any

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, load_all
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.sync import Team, watch
from tests.roles import make_role
from tests.tables import ARTICLES, add_embedding

ROLE = "gte_pg_test_worker"


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    """The embedding of articles, whose rows a policy hides from the role; notes have another."""
    connection.execute(ARTICLES)
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    for table in ("articles", "notes"):
        connection.execute(f"INSERT INTO {table} VALUES (1, 'a cat')".encode())
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    add_embedding(dsn, connection, "notes", ("body",), model)
    make_role(connection, ROLE)
    tables = f"notes, articles, {registered.declaration.vectors.as_string()}"
    connection.execute(f"GRANT SELECT, UPDATE ON {tables} TO {ROLE}".encode())
    if layout == "columns":  # a companion has a policy of its own
        connection.execute("ALTER TABLE articles ENABLE ROW LEVEL SECURITY")
    return registered


def grant(connection: Connection) -> None:
    connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA gte TO {ROLE}".encode())


def gte_pg(dsn: str, *arguments: str) -> Any:
    limited = make_conninfo(dsn, options=f"-c role={ROLE}")
    return CliRunner().invoke(main, [*arguments, "--dsn", limited])


@pytest.mark.parametrize(
    ("command", "most_counted"),
    [
        (("status", "--json"), 1_000_000),
        (("status", "--json"), 0),
        (("sync",), 1_000_000),
        (("sync", "--check"), 1_000_000),
    ],
)
def test_rows_that_a_policy_hides_are_an_error_that_says_what_to_do(
    dsn: str,
    connection: Connection,
    articles: Registered,
    command: tuple[str, ...],
    most_counted: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["gte_pg.sync.status"], "_MOST_ROWS_COUNTED", most_counted)
    grant(connection)
    done = gte_pg(dsn, *command)
    assert done.exit_code == 1
    assert {json.loads(line)["table"] for line in done.stdout.splitlines()} == {"public.notes"}
    for advice in ("ALTER ROLE … BYPASSRLS", "The companion of an embedding always has a policy"):
        assert advice in done.stderr


@pytest.mark.parametrize("layout", ["columns"])
def test_a_watcher_is_told_what_to_do_too(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    grant(connection)
    stop = threading.Event()
    team = Team(make_conninfo(dsn, options=f"-c role={ROLE}"), stop, lambda _: encoder)
    watching = threading.Thread(target=lambda: list(watch(team, load_all)))
    with caplog.at_level(logging.WARNING):
        watching.start()
        until = time.monotonic() + 30
        while "BYPASSRLS" not in caplog.text and time.monotonic() < until:
            time.sleep(0.01)
        stop.set()
        watching.join()
    assert "public.articles (embedding): Postgres says: query would be affected" in caplog.text
    assert "ALTER ROLE … BYPASSRLS" in caplog.text


@pytest.mark.parametrize("layout", ["columns"])
@pytest.mark.parametrize("command", [("status",), ("sync",)])
def test_who_may_not_read_gte_pg_s_own_tables_is_told_the_grant(
    dsn: str, connection: Connection, articles: Registered, command: tuple[str, ...]
) -> None:
    command = (*command, "--table", "notes")
    denied = gte_pg(dsn, *command)
    assert denied.exit_code == 1
    said = re.search(r"If that is gte\.\w+, which is gte-pg's own: (GRANT .* TO) …", denied.stderr)
    assert said is not None
    connection.execute(f"{said[1]} {ROLE}".encode())
    assert gte_pg(dsn, *command).exit_code == 0
