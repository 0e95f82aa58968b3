"""The embedded Postgres: every command says where it is, and it stops with the last of its users."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

COMMAND = [sys.executable, "-m", "gte_pg"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    without = {name: value for name, value in os.environ.items() if name != "GTE_PG_DSN"}
    return without | {"XDG_DATA_HOME": str(tmp_path)}


def test_it_says_where_it_is_and_stops_with_its_last_user(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with subprocess.Popen(
        [*COMMAND, "sync", "--watch"], env=environment, stderr=subprocess.PIPE, text=True
    ) as watcher:
        assert watcher.stderr is not None
        try:
            said = watcher.stderr.readline() + watcher.stderr.readline()
            assert str(tmp_path / "gte-pg" / "postgres") in said
            (dsn,) = re.findall(r'"(postgresql://.*)"', said)
            subprocess.run([*COMMAND, "status"], env=environment, check=True, timeout=60)
            psycopg.connect(dsn).close()
        finally:
            watcher.kill()
    # Who is killed cannot stop it.
    psycopg.connect(dsn).close()
    subprocess.run([*COMMAND, "status"], env=environment, check=True, timeout=60)
    with pytest.raises(psycopg.OperationalError, match="No such file or directory"):
        psycopg.connect(dsn)
