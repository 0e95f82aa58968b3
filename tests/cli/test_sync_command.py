"""What `gte-pg sync` says to whoever runs it from a script: exit codes and lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered
from gte_pg.sync import Progress, Team, sync_once
from tests.tables import ARTICLES, add_embedding


def gte_pg(dsn: str, *arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments, "--dsn", dsn])


@pytest.fixture
def two(dsn: str, connection: Connection, model: str) -> list[Registered]:
    """The embeddings of articles, and of notes."""
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) n")
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    connection.execute("INSERT INTO notes VALUES (1, 'a cat')")
    return [
        add_embedding(dsn, connection, "articles", ("title",), model),
        add_embedding(dsn, connection, "notes", ("body",), model),
    ]


def test_who_is_stopped_says_what_is_not_done(
    dsn: str, two: list[Registered], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(connection: Connection, registered: Registered, team: Team) -> Iterator[Progress]:
        for progress in sync_once(connection, registered, team):
            if progress.encoded:
                team.stop.set()
            yield progress

    monkeypatch.setattr(sys.modules["gte_pg.cli.sync"], "sync_once", stopped)
    done = gte_pg(dsn, "sync")
    assert done.exit_code == 1
    assert "stopped: public.articles (embedding), public.notes (embedding) not done" in done.stderr
