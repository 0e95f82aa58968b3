"""A team: how many workers share an encoder on one database, and what they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from gte_pg.declaration import Declaration, declared_encoder
from gte_pg.encoder import Encoder

EncoderFor = Callable[[Declaration], Encoder]


@dataclass(slots=True)
class Limit:
    """At most so many rows in all, however many workers take them; None: no limit."""

    rows: int | None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, wanted: int) -> int:
        """Return how many of these rows may be claimed."""
        if self.rows is None:
            return wanted
        with self._lock:
            taken = min(wanted, self.rows)
            self.rows -= taken
            return taken

    def give_back(self, rows: int) -> None:
        """Return rows that were taken and not encoded."""
        if self.rows is not None:
            with self._lock:
                self.rows += rows


@dataclass(frozen=True, slots=True)
class Team:
    """Worker threads on one database. `stop` makes each of them write what it encodes, and leave."""

    dsn: str
    stop: threading.Event
    encoder_for: EncoderFor = declared_encoder
    workers: int = 2
    batch_rows: int = 256
    limit: Limit = field(default_factory=lambda: Limit(None))
