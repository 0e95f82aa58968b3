"""A server that may not be written to: a standby, or a role that is made read-only."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection
from tests.tables import ARTICLES, add_embedding, drain


@pytest.mark.parametrize(
    "command",
    [
        ["sync"],
        ["sync", "--check"],
        ["sync", "--repair"],
        ["retry", "articles"],
        ["remove", "articles"],
        ["init"],
    ],
    ids=" ".join,
)
def test_what_would_write_says_where_it_can(
    dsn: str, connection: Connection, model: str, command: list[str]
) -> None:
    connection.execute(ARTICLES)
    title = "{title}::jsonb ->> 'title'"
    articles = add_embedding(dsn, connection, "articles", (), model, expression=title)
    drain(connection, articles)
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute("INSERT INTO articles VALUES (1, 'not json')")
    connection.execute("ALTER TABLE articles ENABLE TRIGGER USER")
    standby = make_conninfo(dsn, options="-c default_transaction_read_only=on")
    done = CliRunner().invoke(main, [*command, "--dsn", standby])
    assert done.exit_code == 1, done.output
    assert "connect to the primary" in done.output
