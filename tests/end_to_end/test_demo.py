"""`gte-pg demo` as a newcomer runs it, with the real model."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gte_pg.database import connect, load
from gte_pg.demo import TABLE
from gte_pg.sync import status

# The whole library takes minutes to encode.
_A_FEW_MODULES = """
import gte_pg.demo.table
from gte_pg.cli import main

everything = gte_pg.demo.table.standard_library
few = {"argparse", "csv", "json", "logging", "pathlib", "shutil", "subprocess", "zipfile"}
gte_pg.demo.table.standard_library = lambda: [row for row in everything() if row.module in few]
main(prog_name="gte-pg")
"""


def demo(dsn: str, *arguments: str, whole: bool = False) -> subprocess.CompletedProcess[str]:
    program = ["-m", "gte_pg"] if whole else ["-c", _A_FEW_MODULES]
    return subprocess.run(
        [sys.executable, *program, "demo", *arguments, "--dsn", dsn],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )


@pytest.mark.model
@pytest.mark.timeout(600)
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_demo_answers_and_encodes_only_once(empty_dsn: str, whole: bool) -> None:
    first = demo(empty_dsn, whole=whole)
    best = next(line for line in first.stdout.splitlines() if line.split()[:1] == ["1"])
    assert "subprocess." in best
    with connect(empty_dsn) as connection:
        found = status(connection, load(connection, TABLE))
        assert found.rows > (3000 if whole else 100)
        assert (found.encoded, found.pending) == (found.rows, 0)
        connection.execute(f"UPDATE {TABLE} SET doc = 'stale' WHERE module = 'json' AND name = ''")
        connection.execute(f"DELETE FROM {TABLE} WHERE module = 'shutil'")
        connection.execute(f"INSERT INTO {TABLE} VALUES ('gone', '', '', 'not in this Python')")
    second = demo(empty_dsn, "JSON encoder and decoder", "--limit", "3", whole=whole)
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
