"""How much of the encoder's own throughput a sync keeps: the same texts in the same batches.

    .venv/bin/python benchmarks/sync/pipeline.py [--texts descriptions.jsonl.xz --field description]

The encoder alone, a team of one worker and a team of two, one after the other in each round, the order
turned from round to round. A share is that of one round; the median of the rounds is told, and the least
and the most. "Busy" is how much of the time some worker was in the encoder: what is missing is reading and
writing that did not overlap, whatever else the machine does. CPU is this process's, without backends.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database import fresh_database, parser
from instant import MODEL
from markdown import print_table
from table import add_embedding, make_table
from texts import real_texts

from gte_pg.database import Registered, connect
from gte_pg.encoder import Encoded, Encoder, load_encoder
from gte_pg.sync import Team
from gte_pg.sync.members import drain
from gte_pg.sync.status import has_pending

BATCH = 256


@dataclass(frozen=True, slots=True)
class Run:
    """Seconds by the clock, of them in the encoder, and of CPU."""

    seconds: float
    encoding: float
    cpu: float


class Watched(Encoder):
    """An encoder that knows how long it was busy; teams let one worker encode at a time."""

    def __init__(self, inner: Encoder) -> None:
        self.identity = inner.identity
        self._inner = inner
        self.busy = 0.0

    def encode(self, texts: Sequence[str], **options: Any) -> Encoded:
        begun = time.perf_counter()
        encoded = self._inner.encode(texts, **options)
        self.busy += time.perf_counter() - begun
        return encoded


def main() -> None:
    command = parser(__doc__ or "", rows=1_024, rounds=6)
    command.add_argument("--texts", type=Path, help="JSON Lines, perhaps .xz")
    command.add_argument("--field", default="description")
    asked = command.parse_args()
    texts = real_texts(asked.texts, asked.field, asked.rows)
    encoder = Watched(load_encoder(MODEL))
    encoder.encode(texts[:BATCH])
    ways: dict[str, Callable[[str], Run]] = {
        "encoder alone": lambda _dsn: timed(encoder, lambda: encode_alone(encoder, texts)),
        "sync, 1 worker": lambda dsn: synced(dsn, encoder, texts, workers=1),
        "sync, 2 workers": lambda dsn: synced(dsn, encoder, texts, workers=2),
    }
    runs: dict[str, list[Run]] = {way: [] for way in ways}
    with fresh_database(asked.dsn) as dsn:
        for number in range(asked.rounds):
            names = list(ways)
            turned = names[number % 3 :] + names[: number % 3]
            for way in turned:
                runs[way].append(ways[way](dsn))
    alone = runs["encoder alone"]
    print_table(
        ("way", "rows/s", "share", "least", "most", "busy", "CPU ms/row"),
        (row(way, done, alone, len(texts)) for way, done in runs.items()),
    )


def row(way: str, runs: list[Run], alone: list[Run], rows: int) -> tuple[str, ...]:
    shares = [one.seconds / run.seconds for run, one in zip(runs, alone, strict=True)]
    return (
        way,
        f"{rows / min(run.seconds for run in runs):,.0f}",
        *(f"{choose(shares):.1%}" for choose in (statistics.median, min, max)),
        f"{statistics.median(run.encoding / run.seconds for run in runs):.1%}",
        f"{1000 * statistics.median(run.cpu for run in runs) / rows:.2f}",
    )


def encode_alone(encoder: Encoder, texts: list[str]) -> None:
    for start in range(0, len(texts), BATCH):
        encoder.encode(texts[start : start + BATCH])


def synced(dsn: str, encoder: Watched, texts: list[str], *, workers: int) -> Run:
    registered = pending_table(dsn, texts)
    team = Team(dsn, threading.Event(), lambda _: encoder, workers=workers, batch_rows=BATCH)
    run = timed(encoder, lambda: list(drain(team, registered)))
    with connect(dsn) as connection:
        assert not has_pending(connection, registered)
    return run


def pending_table(dsn: str, texts: list[str]) -> Registered:
    with connect(dsn) as connection:
        make_table(connection)
        connection.execute(
            "INSERT INTO articles (id, body) "
            "SELECT id, body FROM unnest(%s::text[]) WITH ORDINALITY AS text (body, id)",
            [texts],
        )
    return add_embedding(dsn)


def timed(encoder: Watched, work: Callable[[], object]) -> Run:
    wall, busy, cpu = time.perf_counter(), encoder.busy, time.process_time()
    work()
    return Run(time.perf_counter() - wall, encoder.busy - busy, time.process_time() - cpu)


if __name__ == "__main__":
    main()
