"""A table that a transaction has for itself holds up no command for long, and no other table."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, connect
from gte_pg.declaration import Layout
from tests.tables import ARTICLES, add_embedding

_NOTES = "CREATE TABLE notes (id int PRIMARY KEY, title text)"


@pytest.fixture(params=["articles", "articles_embedding"])
def locked(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.parametrize(
    "command",
    [["status", "--json"], ["sync", "--check"], ["retry", "articles"]],
)
def test_it_says_so_and_goes_on(
    dsn: str,
    connection: Connection,
    model: str,
    locked: str,
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout: Layout = "companion" if locked == "articles_embedding" else "columns"
    for table, create in (("articles", ARTICLES), ("notes", _NOTES)):
        connection.execute(create)
        add_embedding(dsn, connection, table, ("title",), model, layout=layout)
    # One that waits for longer than it should ends with another error.
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=10s")
    with connect(dsn) as other, other.transaction():
        other.execute(f"LOCK TABLE {locked} IN ACCESS EXCLUSIVE MODE".encode())
        told = CliRunner().invoke(main, [*command, "--dsn", dsn])
    assert told.exit_code == 1
    assert "the table public.articles is locked by another transaction" in told.output
    if command[0] != "retry":
        lines = [line for line in told.stdout.splitlines() if line.startswith("{")]
        assert "public.notes" in {json.loads(line)["table"] for line in lines}
    assert CliRunner().invoke(main, [*command, "--dsn", dsn]).exit_code == 0
