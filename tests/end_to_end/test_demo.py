"""`gte-pg demo` as a newcomer runs it, with the real model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gte_pg.database import connect, load
from gte_pg.demo import TABLE
from gte_pg.sync import status


def demo(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gte_pg", "demo", *arguments, "--dsn", dsn],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )


@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_demo_answers_and_encodes_only_once(empty_dsn: str) -> None:
    first = demo(empty_dsn)
    best = next(line for line in first.stdout.splitlines() if line.split()[:1] == ["1"])
    assert "subprocess." in best
    with connect(empty_dsn) as connection:
        found = status(connection, load(connection, TABLE))
        assert found.rows > 3000
        assert (found.encoded, found.pending) == (found.rows, 0)
        connection.execute(f"UPDATE {TABLE} SET doc = 'stale' WHERE module = 'json' AND name = ''")
        connection.execute(f"DELETE FROM {TABLE} WHERE module = 'shutil'")
        connection.execute(f"INSERT INTO {TABLE} VALUES ('gone', '', '', 'not in this Python')")
    second = demo(empty_dsn, "JSON encoder and decoder", "--limit", "3")
    assert "json" in second.stdout
    with connect(empty_dsn) as connection:
        again = status(connection, load(connection, TABLE))
        assert (again.rows, again.pending) == (found.rows, 0)
        assert connection.execute(f"SELECT FROM {TABLE} WHERE module = 'gone'").fetchall() == []


def test_another_model_replaces_the_embedding(empty_dsn: str, model: str, plain_model: str) -> None:
    for directory, tokens in ((model, True), (plain_model, False)):
        done = demo(empty_dsn, "zip file", "--model", directory, "--limit", "1")
        assert len([line for line in done.stdout.splitlines() if line.split()[:1] == ["1"]]) == 1
        with connect(empty_dsn) as connection:
            declaration = load(connection, TABLE).declaration
            assert declaration.model == directory
            assert declaration.has_sparse is tokens
