"""What `gte-pg sync` says to whoever runs it from a script: exit codes and lines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Progress, Team, Worker, sync_once
from tests.tables import ARTICLES, Interrupted, add_embedding


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


@pytest.mark.parametrize("limit", [5, 21, 30])
def test_rows_over_the_limit_are_nothing_amiss(dsn: str, two: list[Registered], limit: int) -> None:
    assert gte_pg(dsn, "sync", "--limit", str(limit)).exit_code == 0


@pytest.mark.parametrize("limit", [5, 30])
def test_rows_that_failed_are_amiss_with_a_limit_too(
    dsn: str, connection: Connection, two: list[Registered], encoder: Encoder, limit: int
) -> None:
    def refuse(texts: list[str]) -> None:
        if "title 13" in texts:
            raise EncodingError("unlucky")

    list(Worker(connection, two[0], Interrupted(encoder, refuse)).rounds())
    connection.execute("UPDATE articles SET title = 'again ' || id WHERE id <> 13")
    done = gte_pg(dsn, "sync", "--limit", str(limit))
    assert (done.exit_code, "1 row is still pending" in done.stderr) == (1, True)


def test_rows_that_another_worker_holds_are_told_from_those_that_failed(
    dsn: str, connection: Connection, two: list[Registered], encoder: Encoder
) -> None:
    class Killed(BaseException):
        pass

    def die(_texts: list[str]) -> None:
        raise Killed

    def refuse(texts: list[str]) -> None:
        if "a cat" in texts:
            raise EncodingError("unlucky")

    with pytest.raises(Killed):
        Worker(connection, two[0], Interrupted(encoder, die), batch_rows=12).round()
    list(Worker(connection, two[1], Interrupted(encoder, refuse)).rounds())
    done = gte_pg(dsn, "sync")
    assert done.exit_code == 1
    told = re.fullmatch(
        r"Error: public.articles \(embedding\): 12 rows are held by another worker "
        rf"\(\S+:{os.getpid()}\) until ([\d:]{{8}}); if that one is gone, they come back then\n"
        r"1 row is still pending; see gte-pg status\n",
        done.stderr,
    )
    assert told is not None, done.stderr
    seen = gte_pg(dsn, "status").stdout
    assert "20 rows, 8 encoded, 12 pending (the oldest for " in seen
    assert f", 12 held until {told[1]}" in seen
    assert "1 row, 0 encoded" in seen
    articles, notes = map(json.loads, gte_pg(dsn, "status", "--json").stdout.splitlines())
    until = datetime.fromisoformat(articles["held_until"]).astimezone()
    assert (articles["held"], f"{until:%H:%M:%S}") == (12, told[1])
    assert (notes["held"], notes["held_until"]) == (0, None)


@pytest.mark.parametrize("other", ["--watch", "--check"])
def test_what_knows_no_limit_refuses_one(dsn: str, other: str) -> None:
    done = gte_pg(dsn, "sync", other, "--limit", "5")
    assert (done.exit_code, "--limit is for a sync that leaves" in done.stderr) == (2, True)


def test_lines_say_which_embedding_they_are_of(
    dsn: str, two: list[Registered], plain_model: str
) -> None:
    switched = gte_pg(dsn, "switch", "notes", "--model", plain_model)
    assert switched.exit_code == 0, switched.stderr
    synced = gte_pg(dsn, "sync", "--table", "notes")
    for done, names in (
        (switched, {"embedding_next"}),
        (synced, {"embedding", "embedding_previous"}),
    ):
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert {line["table"] for line in lines} == {"public.notes"}
        assert {line["embedding"] for line in lines} == names


@pytest.mark.parametrize(
    "command",
    [("sync",), ("sync", "--check"), ("sync", "--repair"), ("sync", "--print-sql"), ("status",)],
)
def test_a_table_without_an_embedding_is_an_error(
    dsn: str, connection: Connection, command: tuple[str, ...]
) -> None:
    connection.execute(ARTICLES)
    done = gte_pg(dsn, *command, "--table", "articles")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the table articles has no embedding; make one: gte-pg add articles" in done.stderr
    done = gte_pg(dsn, *command)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "there are no embeddings; make one" in done.stderr


def test_who_watches_a_table_without_an_embedding_waits_for_one(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    watcher = subprocess.Popen(
        [sys.executable, "-m", "gte_pg", "sync", "--watch", "--table", "articles", "--dsn", dsn],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watcher.stderr is not None
    assert watcher.stdout is not None
    missing, begun = sorted(watcher.stderr.readline() for _ in range(2))
    assert "the table articles has no embedding" in missing
    assert begun == "watching 0 embeddings; stop with Ctrl-C or SIGTERM\n"
    add_embedding(dsn, connection, "articles", ("title",), model)
    connection.execute("INSERT INTO articles VALUES (1, 'a cat')")
    line = json.loads(watcher.stdout.readline())
    assert (line["stage"], line["pending"], line["encoded"], line["left"]) == ("done", 1, 1, 0)
    assert line["seconds"] > 0
    watcher.send_signal(signal.SIGTERM)
    assert "watching" not in watcher.communicate(timeout=30)[1]
    assert watcher.returncode == 0
