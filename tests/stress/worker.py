"""A worker: a process that does what `gte-pg sync --watch` does, with a short lease and a slow encoder."""

from __future__ import annotations

import functools
import logging
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from psycopg import sql

import gte_pg.sync.share
import gte_pg.sync.write_back
from gte_pg.database import load_all
from gte_pg.encoder import load_encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Team, Worker, watch
from tests.stress.texts import UNLUCKY
from tests.tables import Interrupted

LEASE = timedelta(seconds=1)

REFUSAL = "an unlucky text"

# Now and then it takes longer than its lease.
_SECONDS = (0.0, 0.02, 0.1)
_LONG_SECONDS = 1.3
_LONG = 0.02

# Without these words a write-back trusts what it once read.
COMPARES = {"version": " AND {version} = written.version", "hash": "AND {hash} = written.hash"}


def work(dsn: str, model: str, seed: str, batch_rows: int, log: Path, without: str | None) -> None:
    """Work until SIGTERM. `without` names a comparison that the write-back is to leave out."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    handler = logging.FileHandler(log)
    handler.setFormatter(_OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    chance = random.Random(seed)
    encoder = load_encoder(model)

    def pause(texts: list[str]) -> None:
        if any(UNLUCKY in text for text in texts):
            raise EncodingError(REFUSAL)
        time.sleep(_LONG_SECONDS if chance.random() < _LONG else chance.choice(_SECONDS))

    slow = Interrupted(encoder, pause)
    team = Team(dsn, stop, lambda _declaration: slow, batch_rows=batch_rows)
    with quick_leases(), _careless(without):
        for _ in watch(team, load_all):
            pass


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(record.getMessage().split())


@contextmanager
def quick_leases() -> Iterator[None]:
    """Let the workers of a team hold their leases for a second."""
    with patch.object(gte_pg.sync.share, "Worker", functools.partial(Worker, lease=LEASE)):
        yield


@contextmanager
def _careless(without: str | None) -> Iterator[None]:
    careful = gte_pg.sync.write_back._WRITE.as_string()
    careless = careful.replace(COMPARES[without], "") if without else careful
    assert not without or careless != careful, "the write-back is no longer what it was"
    with patch.object(gte_pg.sync.write_back, "_WRITE", sql.SQL(careless)):
        yield
