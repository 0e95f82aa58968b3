"""What a batch of a backfill costs as it goes on, while an old transaction is open and without one.

    .venv/bin/python benchmarks/sync/claims.py [--rows 100000] [--layout columns companion]

One worker, batches of 256 rows, an encoder that takes no time. The entries of finished rows stay in the
index of pending rows as long as any transaction might see them: a worker must not walk over them again
and again. CPU milliseconds of the backend a batch, medians and means of the first and the last quarter.
"""

from __future__ import annotations

import itertools
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import get_args

from cpu import cpu_seconds
from database import fresh_database, parser
from instant import InstantEncoder
from markdown import print_table
from table import add_embedding, fill_table, make_table

from gte_pg.database import Registered, connect
from gte_pg.database.binary import adapt_binary_arrays
from gte_pg.declaration import Layout
from gte_pg.sync.claim import Claims
from gte_pg.sync.read import Reader
from gte_pg.sync.write_back import Writer

BATCH = 256


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds of the backend for one batch."""

    claim: float
    read: float
    write: float


def main() -> None:
    command = parser(__doc__ or "", rows=100_000, rounds=1)
    command.add_argument("--layout", nargs="+", default=get_args(Layout))
    asked = command.parse_args()
    head = ("layout", "claim, first quarter", "claim, last quarter", "mean first", "mean last")
    with fresh_database(asked.dsn) as dsn:
        print_table(
            (*head, "slowest", "read", "write"),
            (
                row(layout, old, backfill(dsn, layout, asked.rows, old=old))
                for _ in range(asked.rounds)
                for layout in asked.layout
                for old in (False, True)
            ),
        )


def row(layout: Layout, old: bool, costs: list[Cost]) -> tuple[str, ...]:
    quarter = len(costs) // 4
    claims = [cost.claim for cost in costs]
    first, last = claims[:quarter], claims[-quarter:]
    figures = (
        *(statistics.median(part) for part in (first, last)),
        *(statistics.mean(part) for part in (first, last)),
        max(claims),
        statistics.median(cost.read for cost in costs),
        statistics.median(cost.write for cost in costs),
    )
    title = f"{layout}, an old transaction open" if old else f"{layout}"
    return (title, *(f"{figure:.1f}" for figure in figures))


def backfill(dsn: str, layout: Layout, rows: int, *, old: bool) -> list[Cost]:
    with ExitStack() as stack:
        with connect(dsn) as connection:
            make_table(connection)
            fill_table(connection, rows)
        registered = add_embedding(dsn, layout=layout)
        if old:
            reader = stack.enter_context(connect(dsn))
            reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT count(*) FROM articles")
        costs = batches(dsn, registered)
        if old:
            reader.execute("ROLLBACK")
    # The last batch may be a small one, and finding that nothing is left is none.
    return costs[:-1]


def batches(dsn: str, registered: Registered) -> list[Cost]:
    encoder = InstantEncoder()
    costs: list[Cost] = []
    with connect(dsn) as connection:
        adapt_binary_arrays(connection)
        claims = Claims(connection, registered, owner="benchmark", lease=timedelta(minutes=5))
        reader = Reader(connection, registered.declaration)
        writer = Writer(connection, registered)
        while True:
            times = [cpu_seconds(connection)]
            batch = claims.claim(BATCH)
            if batch is None:
                return costs
            times.append(cpu_seconds(connection))
            texts = reader.read(batch.keys).texts
            times.append(cpu_seconds(connection))
            writer.write(texts, encoder.encode([text.text for text in texts]))
            times.append(cpu_seconds(connection))
            claims.release(batch)
            steps = [1000 * (end - begin) for begin, end in itertools.pairwise(times)]
            costs.append(Cost(*steps))


if __name__ == "__main__":
    main()
