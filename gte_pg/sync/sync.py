"""Sync: encode everything that is pending, build what search needs, and say how it goes.

`sync_once` drains one embedding; `watch` keeps all embeddings of a database drained. Both may run in
any number of processes on any number of machines: leases keep them apart.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import psycopg

from gte_pg.database import Connection, Registered, connect, load_all
from gte_pg.encoder import Encoder
from gte_pg.errors import GtePgError
from gte_pg.sync.key_frequencies import refresh_key_frequencies
from gte_pg.sync.search_indexes import (
    build_search_index,
    missing_search_indexes,
    update_statistics,
)
from gte_pg.sync.status import count_pending
from gte_pg.sync.worker import Worker

logger = logging.getLogger(__name__)

# Polling an empty work list takes a fraction of a millisecond and works through every pooler.
_POLL_SECONDS = 0.25

# A batch that could write nothing met rows that others hold: they need a moment.
_BLOCKED_SECONDS = 0.2

# How often a one-shot sync meets nothing but held rows before it gives up and says so.
_MOST_BLOCKED = 50

_RETRY_SECONDS = (0.5, 1, 2, 5, 10)

EncoderFor = Callable[[str], Encoder]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sync stands. Rows are counted from its start; `pending` is what it found then."""

    stage: Literal["encoding", "indexing", "done"]
    pending: int
    encoded: int = 0
    failed: int = 0
    left: int = 0
    index: str = ""


def sync_once(
    connection: Connection,
    registered: Registered,
    encoder_for: EncoderFor,
    *,
    batch_rows: int = 256,
    stop: threading.Event | None = None,
) -> Iterator[Progress]:
    """Encode all pending rows of one embedding, then build its missing search indexes.

    Yields after every batch and before every index. The last value, stage `done`, says how many rows
    are `left`: failed, locked by somebody all the while, or in another worker's lease.
    """
    stop = stop or threading.Event()
    pending = count_pending(connection, registered)
    encoded = failed = blocked = 0
    yield Progress("encoding", pending)
    if pending:
        encoder = encoder_for(registered.declaration.model)
        worker = Worker(connection, registered, encoder, batch_rows=batch_rows)
        for done in worker.rounds():
            encoded += done.encoded
            failed += done.failed
            yield Progress("encoding", pending, encoded, failed, done.left)
            blocked = blocked + 1 if done.left and not done.encoded else 0
            if blocked:
                stop.wait(_BLOCKED_SECONDS)
            if stop.is_set() or blocked >= _MOST_BLOCKED:
                break
    if not stop.is_set():
        missing = missing_search_indexes(connection, registered.declaration)
        for name, statement in missing.items():
            yield Progress("indexing", pending, encoded, failed, index=name)
            build_search_index(connection, registered.declaration, name, statement)
        if missing:
            update_statistics(connection, registered.declaration)
        if encoded:
            refresh_key_frequencies(connection, registered)
    left = count_pending(connection, registered)
    yield Progress("done", pending, encoded, failed, left)


def watch(
    dsn: str,
    encoder_for: EncoderFor,
    *,
    stop: threading.Event,
    table: str | None = None,
    batch_rows: int = 256,
) -> Iterator[tuple[Registered, Progress]]:
    """Keep every embedding (or those of `table`) encoded until `stop` is set.

    Embeddings that are added later are found. A lost connection is opened again, for ever, and a model
    whose files are missing is tried again: no row is blamed for either.
    """
    lost = 0
    while not stop.is_set():
        try:
            with connect(dsn) as connection:
                for found in _watch_connected(connection, encoder_for, stop, table, batch_rows):
                    lost = 0
                    yield found
        except (psycopg.Error, GtePgError) as error:
            wait = _RETRY_SECONDS[min(lost, len(_RETRY_SECONDS) - 1)]
            lost += 1
            logger.warning("%s; again in %s s", str(error).strip(), wait)
            stop.wait(wait)


def _watch_connected(
    connection: Connection,
    encoder_for: EncoderFor,
    stop: threading.Event,
    table: str | None,
    batch_rows: int,
) -> Iterator[tuple[Registered, Progress]]:
    while not stop.is_set():
        idle = True
        for registered in load_all(connection, table):
            if not count_pending(connection, registered):
                continue
            for progress in sync_once(
                connection, registered, encoder_for, batch_rows=batch_rows, stop=stop
            ):
                idle = idle and not progress.encoded
                yield registered, progress
        if idle:
            stop.wait(_POLL_SECONDS)
