"""How long an application's single-row UPDATEs take beside a worker that encodes the whole table anew.

    .venv/bin/python benchmarks/sync/latency.py [--rows 20000] [--seconds 15]

The table has its HNSW and its token index, so each vector that is written costs a millisecond. The
application updates random rows on one connection, 2 ms after the last answer, another column or the
text by turns; its commits do not wait for the disk. The worker's encoder takes no time: it writes all the
while. The machine's other work is in these figures: compare with the rows without a worker.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from typing import get_args

import numpy as np
from database import fresh_database, parser
from instant import InstantEncoder
from markdown import print_table
from psycopg import sql
from table import add_embedding, build_search_indexes, fill_table, make_table

from gte_pg.database import Connection, connect, fill, load
from gte_pg.declaration import Declaration, Layout
from gte_pg.sync import Worker

_THINK_SECONDS = 0.002

_processes = multiprocessing.get_context("spawn")

UPDATES = {
    "another column": "UPDATE articles SET likes = likes + 1 WHERE id = %s",
    "the text": "UPDATE articles SET body = body || '.' WHERE id = %s",
}


def main() -> None:
    command = parser(__doc__ or "", rows=20_000, rounds=1)
    command.add_argument("--seconds", type=float, default=15)
    asked = command.parse_args()
    with fresh_database(asked.dsn) as dsn:
        print_table(
            ("layout, UPDATE of", "updates", "p50 ms", "p99 ms", "max ms", "encoded rows/s"),
            (
                row
                for _ in range(asked.rounds)
                for layout in get_args(Layout)
                for row in measured(dsn, layout, asked.rows, asked.seconds)
            ),
        )


def measured(dsn: str, layout: Layout, rows: int, seconds: float) -> Iterator[tuple[str, ...]]:
    with connect(dsn) as connection:
        make_table(connection)
        fill_table(connection, rows)
        registered = add_embedding(dsn, layout=layout)
        build_search_indexes(dsn, registered)
        connection.execute("VACUUM ANALYZE")
        alone = application(dsn, rows, seconds)
        mark_pending(connection, registered.declaration)
    with worker(dsn) as encoded:
        beside = application(dsn, rows, seconds)
        speed = encoded.value / seconds
    for update in UPDATES:
        yield row(f"{layout}, {update}, no worker", alone[update], "")
        yield row(f"{layout}, {update}, beside a worker", beside[update], f"{speed:,.0f}")


def mark_pending(connection: Connection, declaration: Declaration) -> None:
    """Have every row encoded anew; its vector stays until then."""
    pending = sql.Identifier(declaration.pending_column)
    mark = sql.SQL("UPDATE {vectors} SET {pending} = '-infinity'")
    connection.execute(fill(mark, vectors=declaration.vectors, pending=pending))
    connection.execute(sql.SQL("VACUUM ANALYZE {}").format(declaration.vectors))


@contextmanager
def worker(dsn: str) -> Iterator[Synchronized[int]]:
    """Run a worker in a process of its own; how many rows it has encoded."""
    started, stop = _processes.Event(), _processes.Event()
    encoded = _processes.Value(ctypes.c_long, 0)
    process = _processes.Process(target=work, args=(dsn, started, stop, encoded))
    process.start()
    started.wait()
    try:
        yield encoded
    finally:
        stop.set()
        process.join()


def work(dsn: str, started: Event, stop: Event, encoded: Synchronized[int]) -> None:
    with connect(dsn) as connection:
        rounds = Worker(connection, load(connection, "articles"), InstantEncoder()).rounds()
        started.set()
        while not stop.is_set() and (done := next(rounds, None)):
            encoded.value += done.encoded


def row(title: str, taken: list[float], speed: str) -> tuple[str, ...]:
    figures = (*np.percentile(taken, [50, 99]), max(taken))
    return (title, f"{len(taken):,}", *(f"{1000 * figure:.1f}" for figure in figures), speed)


def application(dsn: str, rows: int, seconds: float) -> dict[str, list[float]]:
    """Update for so many seconds; how long each UPDATE took."""
    chosen = random.Random(1)
    taken: dict[str, list[float]] = {update: [] for update in UPDATES}
    until = time.perf_counter() + seconds
    with connect(dsn) as connection:
        connection.execute("SET synchronous_commit = off")
        while time.perf_counter() < until:
            for update, statement in UPDATES.items():
                time.sleep(_THINK_SECONDS)
                begun = time.perf_counter()
                connection.execute(statement.encode(), (chosen.randint(1, rows),))
                taken[update].append(time.perf_counter() - begun)
    return taken


if __name__ == "__main__":
    main()
