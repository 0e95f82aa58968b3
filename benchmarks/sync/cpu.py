"""The CPU time of a Postgres backend on this machine: it depends least on what else runs here."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gte_pg.database import Connection


def cpu_seconds(connection: Connection) -> float:
    """Return what the backend has spent so far."""
    # Its answer has come, but it still tidies up for a moment.
    time.sleep(0.001)
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    return int(schedule.read_text().split()[0]) / 1e9


def spent(connection: Connection, work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU seconds that the backend spends on `work`, and the seconds that pass."""
    before, begun = cpu_seconds(connection), time.perf_counter()
    work()
    passed = time.perf_counter() - begun
    return cpu_seconds(connection) - before, passed
