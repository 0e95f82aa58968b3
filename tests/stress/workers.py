"""The worker processes of a run, and what happens to them: killed, stopped past their lease, cut off."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from gte_pg.database import Connection
from tests.stress.worker import LEASE, work

_COUNT = 3

# Past the lease, so that others take its rows over and it comes back with old vectors in its hands.
_STOPPED_SECONDS = LEASE.total_seconds() * 1.5

_DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'gte-pg' AND pid <> pg_backend_pid()
ORDER BY random() LIMIT 1
"""


@dataclass
class Workers:
    """Three workers; whichever is killed has a successor at once."""

    context: ForkServerContext
    dsn: str
    model: str
    seed: str
    batch_rows: int
    log: Path
    without: str | None
    trouble: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(f"{self.seed} trouble")
        self._numbers = itertools.count()
        self._processes: list[BaseProcess] = [self._started() for _ in range(_COUNT)]

    def make_trouble(self, connection: Connection) -> None:
        """Do something to one of them."""
        what = self._random.choice(["killed", "killed", "stopped", "disconnected"])
        place = self._random.randrange(_COUNT)
        process = self._processes[place]
        if what == "killed":
            process.kill()
            process.join()
            self._processes[place] = self._started()
        elif what == "stopped":
            _signal(process, signal.SIGSTOP)
            # Whoever stopped it may by then wait for a lock that it holds.
            waking = threading.Timer(_STOPPED_SECONDS, _signal, (process, signal.SIGCONT))
            waking.daemon = True
            waking.start()
        else:
            connection.execute(_DISCONNECT)
        self.trouble[what] += 1

    def finish(self) -> list[str]:
        """Ask them to leave, as a service manager does; returns what went wrong with that."""
        for process in self._processes:
            _signal(process, signal.SIGCONT)
        for process in self._processes:
            process.terminate()
        problems = []
        for process in self._processes:
            process.join(30)
            # One that was started just now may not listen to SIGTERM yet.
            if process.exitcode not in (0, -signal.SIGTERM):
                problems.append(f"a worker left with exit code {process.exitcode} after SIGTERM")
                process.kill()
        return problems

    def kill(self) -> None:
        """Leave none behind."""
        for process in self._processes:
            process.kill()
            process.join()

    def _started(self) -> BaseProcess:
        seed = f"{self.seed} worker {next(self._numbers)}"
        process = self.context.Process(
            target=work,
            args=(self.dsn, self.model, seed, self.batch_rows, self.log, self.without),
            daemon=True,
        )
        process.start()
        return process


def _signal(process: BaseProcess, number: int) -> None:
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, number)
