"""The CPU time of a Postgres backend: what a query costs, whatever else the machine is doing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gte_pg.database import Connection

Answer = TypeVar("Answer")


def timed(connection: Connection, ask: Callable[[], Answer]) -> tuple[Answer, float]:
    """Return what `ask` returns, and the milliseconds of CPU that the backend spent on it."""
    schedule = Path(f"/proc/{connection.info.backend_pid}/schedstat")
    before = _spent(schedule)
    answer = ask()
    # The backend still tidies up a moment after its answer.
    time.sleep(0.0005)
    return answer, (_spent(schedule) - before) / 1e6


def _spent(schedule: Path) -> int:
    """Nanoseconds on a processor."""
    return int(schedule.read_text().split()[0])
