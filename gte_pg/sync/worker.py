"""One worker of one embedding: claim a batch, read it, encode it, write it back.

No transaction is open and nothing is locked while it encodes. Whatever goes wrong in between, the
rows are still pending and the lease runs out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import psycopg

from gte_pg.database import Connection, Registered, printable
from gte_pg.database.binary import adapt_binary_arrays
from gte_pg.encoder import Encoder
from gte_pg.sync.claim import Batch, Claims
from gte_pg.sync.encode import Success, encode_apart, pieces
from gte_pg.sync.failures import forget_failures, record_failure
from gte_pg.sync.read import Reader, Text
from gte_pg.sync.refusals import Refusal
from gte_pg.sync.settings import impatient
from gte_pg.sync.throughput import count_encoded
from gte_pg.sync.walk import Walks
from gte_pg.sync.write_back import Writer

logger = logging.getLogger(__name__)

# A row whose lease ran out so often in a lease of its own has killed as many workers.
_DEADLY_ATTEMPTS = 6

# So long, and so often at least, the oldest rows are tried between newer ones if others hold all of them.
_HELD_SECONDS = 10
_LEAST_HELD = 3

# Once rows were left, it is asked for so long which of them others hold, before they are encoded in vain.
_WARY_SECONDS = 10

# How often who waits for the encoder looks whether its lease is to be renewed.
_RENEW_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Round:
    """What one batch came to, in rows. `left` are still pending: changed meanwhile, or locked.

    `begun` is when it was claimed, by time.monotonic().
    """

    encoded: int
    failed: int
    left: int
    begun: float = field(default=0, compare=False)


class Worker:
    """Encodes what is pending in one embedding, batch by batch, on a connection of its own.

    Workers that share a `turn` encode one after the other, and read and write meanwhile. A batch of long
    texts is encoded and written piece by piece; its lease is renewed meanwhile, and by who waits for the
    turn. With `until`, a moment of the database's clock, nothing can be claimed any more when all rows
    pending since before are done: on a table that is written all the while, something always is pending.
    Once `stop` is set, what is left of a batch is left to others. Until `wary_until`, by time.monotonic(),
    it looks which rows others hold before it encodes them: some were held of late. `walks` are those of the
    worker before.
    """

    def __init__(
        self,
        connection: Connection,
        registered: Registered,
        encoder: Encoder,
        *,
        batch_rows: int = 256,
        lease: timedelta = timedelta(minutes=5),
        until: datetime | None = None,
        stop: threading.Event | None = None,
        turn: threading.Lock | None = None,
        wary_until: float = 0,
        walks: Walks | None = None,
    ) -> None:
        registered.declaration.check_model(encoder.identity)
        adapt_binary_arrays(connection)
        self._connection = connection
        self._registered = registered
        self._encoder = encoder
        self._reader = Reader(connection, registered.declaration)
        self._writer = Writer(connection, registered)
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._claims = Claims(
            connection, registered, owner=owner, lease=lease, until=until, walks=walks
        )
        self._batch_rows = batch_rows
        self._stop = stop if stop is not None else threading.Event()
        # How often in a row the oldest rows were held by somebody, and since when.
        self._held, self._held_since = 0, 0.0
        self.wary_until = wary_until
        self._not_found: set[str] = set()
        # What it is at.
        self._batch: Batch | None = None
        self._turn = turn if turn is not None else threading.Lock()

    def rounds(self) -> Iterator[Round]:
        """Work until nothing can be claimed; yields after every batch."""
        while (done := self.round()) is not None:
            yield done

    def round(self, rows: int | None = None) -> Round | None:
        """Claim up to `rows` rows (default: a batch) and encode them; None if nothing can be claimed."""
        if self._held >= _LEAST_HELD and time.monotonic() - self._held_since > _HELD_SECONDS:
            self._held = 0
            return None
        begun = time.monotonic()
        self._batch = batch = self._claims.claim(self._batch_rows if rows is None else rows)
        if batch is None:
            return None
        try:
            done = replace(self._round(batch), begun=begun)
        except Exception:
            # Nobody died: the rows need not wait for the lease to run out.
            with contextlib.suppress(psycopg.Error):
                self.give_back(self._connection)
            raise
        self._batch = None
        if batch.oldest:
            self._note_held(is_held=done.left > 0 and not done.encoded)
        return done

    def give_back(self, connection: Connection) -> None:
        """Give the batch that it is at to others; by another connection than its own, if that was lost."""
        if self._batch is not None:
            with impatient(connection):
                self._claims.release(self._batch, connection)
            self._batch = None

    def _note_held(self, *, is_held: bool) -> None:
        if not is_held:
            self._held = 0
            return
        if not self._held:
            self._held_since = time.monotonic()
        self._held += 1
        self._claims.pass_by(_HELD_SECONDS)

    def _round(self, batch: Batch) -> Round:
        read = written = cleared = 0
        keys: list[str] = []
        failed: list[Refusal] = []
        for part in self._reader.read_in_parts(batch.keys):
            read += len(part.texts) + len(part.textless) + len(part.refusals)
            taken_off = self._writer.clear(part.textless)
            cleared += taken_off.rows
            failed += part.refusals + taken_off.refusals
            keys += [row.key for row in part.textless]
            for piece in pieces(self._worth_encoding(part.texts)):
                if not self._may_go_on(batch):
                    break
                successes, failures = self._encode(batch, piece)
                failed += failures
                for success in successes:
                    stored = self._writer.write(success.texts, success.encoded)
                    written += stored.rows
                    failed += stored.refusals
                    keys += [text.key for text in success.texts]
            if not self._may_go_on(batch):
                break
        self._note(batch, keys, failed, written)
        left = read - written - cleared - len(failed)
        if not read:
            # Gone, unless they come again: keys by which no row is found must not keep it for ever.
            left = len(self._not_found.intersection(batch.keys))
            self._not_found.update(batch.keys)
        if left:
            self.wary_until = time.monotonic() + _WARY_SECONDS
        return Round(written, len(failed), left)

    def _worth_encoding(self, texts: list[Text]) -> list[Text]:
        return self._writer.not_held(texts) if time.monotonic() < self.wary_until else texts

    def _may_go_on(self, batch: Batch) -> bool:
        return not self._stop.is_set() and self._claims.keep(batch)

    def _encode(self, batch: Batch, texts: list[Text]) -> tuple[list[Success], list[Refusal]]:
        if len(batch.keys) == 1 and batch.attempts > _DEADLY_ATTEMPTS:
            died = "every worker that tried to encode this row died"
            return [], [Refusal(text.key, text.mark, died, most_attempts=1) for text in texts]
        with self._at_turn(batch) as may_encode:
            return encode_apart(self._encoder, self._registered, texts if may_encode else [])

    @contextlib.contextmanager
    def _at_turn(self, batch: Batch) -> Iterator[bool]:
        """Wait for the turn, which may take longer than a lease; whether there still is something to do."""
        while not self._turn.acquire(timeout=_RENEW_SECONDS):
            if not self._may_go_on(batch):
                yield False
                return
        try:
            yield self._may_go_on(batch)
        finally:
            self._turn.release()

    def _note(self, batch: Batch, keys: list[str], failed: list[Refusal], written: int) -> None:
        failing = {refusal.key for refusal in failed}
        sound = [key for key in keys if key not in failing]
        with impatient(self._connection):
            for refusal in failed:
                row, error = printable(refusal.key), printable(refusal.error)
                logger.warning("%s: row %s is set apart: %s", self._registered, row, error)
                record_failure(self._connection, self._registered, refusal)
            forget_failures(self._connection, self._registered, sound)
            count_encoded(self._connection, self._registered, written)
            self._claims.release(batch)
