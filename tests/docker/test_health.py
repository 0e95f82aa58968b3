"""The health checks of the containers, run against the real commands."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.serve.server import serving

FOLDER = Path(__file__).parents[2] / "docker"


@contextmanager
def worker(dsn: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gte_pg", "sync", "--watch", "--dsn", dsn],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def alive(dsn: str, *seconds: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FOLDER / "worker" / "alive.py", *seconds],
        env=os.environ | {"GTE_PG_DSN": dsn},
        capture_output=True,
        text=True,
        check=False,
    )


def becomes(dsn: str, wanted: int) -> bool:
    """Whether the check comes to this answer, of what it heard within the last second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if alive(dsn, "1").returncode == wanted:
            return True
    return False


def test_a_worker_is_alive_while_it_talks_to_the_database(dsn: str) -> None:
    assert alive(dsn).returncode == 1
    with worker(dsn) as process:
        assert becomes(dsn, 0)
        process.send_signal(signal.SIGSTOP)
        assert becomes(dsn, 1)
        assert alive(dsn).returncode == 0  # ten minutes are not over
        process.send_signal(signal.SIGCONT)
        assert becomes(dsn, 0)
        process.terminate()
        assert process.wait(timeout=20) == 0
        assert becomes(dsn, 1)
        assert alive(dsn).returncode == 1


def test_a_database_that_is_away_is_no_health() -> None:
    done = alive("host=127.0.0.1 port=1")
    assert done.returncode == 1
    assert "the database does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("reachable", "code"), [(True, 0), (False, 1)])
def test_the_server_is_healthy_where_it_can_search(dsn: str, reachable: bool, code: int) -> None:
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    kind, python, *arguments = compose["services"]["serve"]["healthcheck"]["test"]
    assert (kind, python) == ("CMD", "python")
    database = dsn if reachable else "host=127.0.0.1 port=1 connect_timeout=1"
    with serving(database, "--host", "0.0.0.0", token="0123456789abcdef") as server:
        check = [one.replace(":8100", f":{server.port}") for one in arguments]
        done = subprocess.run([sys.executable, *check], capture_output=True, check=False)
    assert done.returncode == code
