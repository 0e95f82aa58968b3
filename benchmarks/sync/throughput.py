"""Rows a second that workers claim, read and write back, with an encoder that takes no time.

    .venv/bin/python benchmarks/sync/throughput.py [--rows 100000] [--rounds 3] [--storage halfvec]

No vector index. One worker process, then two, in turns; the best of the rounds. CPU is the worker's and
its backend's together: what one core would take, whatever else runs here.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from typing import get_args

from cpu import cpu_seconds
from database import fresh_database, parser
from instant import InstantEncoder
from markdown import print_table
from table import add_embedding, fill_table, make_table

from gte_pg.database import connect, load
from gte_pg.declaration import Layout, Storage
from gte_pg.sync import Worker
from gte_pg.sync.status import has_pending

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Run:
    """Rows a second by the clock; microseconds of CPU that a row took."""

    speed: float
    cpu: float


def main() -> None:
    command = parser(__doc__ or "", rows=100_000, rounds=3)
    command.add_argument("--layout", nargs="+", default=get_args(Layout))
    command.add_argument("--storage", nargs="+", default=get_args(Storage))
    command.add_argument("--batch", type=int, nargs="+", default=[256, 1_024])
    asked = command.parse_args()
    head = ("layout, storage, batch", "one, rows/s", "two, rows/s", "two / one")
    cpu = ("one, CPU µs/row", "two, CPU µs/row")
    kinds = itertools.product(asked.layout, asked.storage, asked.batch)
    with fresh_database(asked.dsn) as dsn:
        print_table(
            (*head, *cpu),
            (measured(dsn, *kind, asked.rows, asked.rounds) for kind in kinds),
        )


def measured(
    dsn: str, layout: Layout, storage: Storage, batch: int, rows: int, rounds: int
) -> tuple[str, ...]:
    runs: dict[int, list[Run]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers, done in runs.items():
            with connect(dsn) as connection:
                make_table(connection)
                fill_table(connection, rows)
            add_embedding(dsn, storage=storage, layout=layout)
            done.append(run(dsn, workers, batch, rows))
    one, two = (max(done, key=lambda run: run.speed) for done in runs.values())
    return (
        f"{layout}, {storage}, {batch:,}",
        f"{one.speed:,.0f}",
        f"{two.speed:,.0f}",
        f"{two.speed / one.speed:.2f}",
        *(f"{min(run.cpu for run in done):.0f}" for done in runs.values()),
    )


def run(dsn: str, workers: int, batch: int, rows: int) -> Run:
    # All are connected when it begins; nobody leaves before it ends.
    gate = _processes.Barrier(workers + 1)
    answers = _processes.SimpleQueue()
    processes = [
        _processes.Process(target=work, args=(dsn, batch, gate, answers)) for _ in range(workers)
    ]
    for process in processes:
        process.start()
    gate.wait()
    begun = time.perf_counter()
    gate.wait()
    seconds = time.perf_counter() - begun
    cpu = sum(answers.get() for _ in processes)
    for process in processes:
        process.join()
    with connect(dsn) as connection:
        assert not has_pending(connection, load(connection, "articles"))
    return Run(rows / seconds, 1e6 * cpu / rows)


def work(dsn: str, batch: int, gate: Barrier, answers: SimpleQueue[float]) -> None:
    with connect(dsn) as connection:
        worker = Worker(
            connection, load(connection, "articles"), InstantEncoder(), batch_rows=batch
        )
        before = time.process_time() + cpu_seconds(connection)
        gate.wait()
        for _ in worker.rounds():
            pass
        gate.wait()
        answers.put(time.process_time() + cpu_seconds(connection) - before)


if __name__ == "__main__":
    main()
