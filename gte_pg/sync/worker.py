"""One worker of one embedding: claim a batch, read it, encode it, write it back.

No transaction is open and nothing is locked while it encodes. Whatever goes wrong in between, the
rows are still pending and the lease runs out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import psycopg

from gte_pg.database import Connection, Registered
from gte_pg.database.binary import adapt_binary_arrays
from gte_pg.encoder import Encoded, Encoder
from gte_pg.errors import EncodingError, GtePgError, ModelError
from gte_pg.sync.claim import Batch, claim, release
from gte_pg.sync.failures import forget_failures, record_failure
from gte_pg.sync.rows import Text, Writer, clear_empty, read_texts

logger = logging.getLogger(__name__)

# Every so many batches one takes the oldest rows, so that fresh rows cannot starve a backfill.
_OLDEST_EVERY = 8

# A row whose lease ran out so often in a lease of its own has killed as many workers.
_DEADLY_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Round:
    """What one batch came to, in rows. `left` are still pending: changed meanwhile, or locked."""

    encoded: int
    failed: int
    left: int


class Worker:
    """Encodes what is pending in one embedding, batch by batch, on a connection of its own."""

    def __init__(
        self,
        connection: Connection,
        registered: Registered,
        encoder: Encoder,
        *,
        batch_rows: int = 256,
        lease: timedelta = timedelta(minutes=5),
    ) -> None:
        registered.declaration.check_model(encoder.identity)
        adapt_binary_arrays(connection)
        # Rows that a policy hides would look as if they were done: an error instead.
        connection.execute("SET row_security = off")
        self._connection = connection
        self._registered = registered
        self._encoder = encoder
        self._writer = Writer(connection, registered.declaration)
        self._batch_rows = batch_rows
        self._lease = lease
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._batches = 0

    def rounds(self) -> Iterator[Round]:
        """Work until nothing can be claimed; yields after every batch."""
        while (batch := self._claim()) is not None:
            try:
                done = self._round(batch)
            except Exception:
                # Nobody died: the rows need not wait for the lease to run out.
                with contextlib.suppress(psycopg.Error):
                    release(self._connection, batch)
                raise
            yield done

    def _claim(self) -> Batch | None:
        self._batches += 1
        return claim(
            self._connection,
            self._registered,
            owner=self._owner,
            rows=self._batch_rows,
            duration=self._lease,
            oldest_first=self._batches % _OLDEST_EVERY == 0,
        )

    def _round(self, batch: Batch) -> Round:
        declaration = self._registered.declaration
        texts, empty = read_texts(self._connection, declaration, batch.keys)
        cleared = clear_empty(self._connection, declaration, empty)
        if len(batch.keys) == 1 and batch.attempts > _DEADLY_ATTEMPTS:
            failed = [
                _Failure(text, "every worker that tried to encode this row died", retry=False)
                for text in texts
            ]
            encoded: list[_Success] = []
        else:
            encoded, failed = _encode(self._encoder, self._registered, texts)
        written = sum(self._writer.write(success.texts, success.encoded) for success in encoded)
        for failure in failed:
            record_failure(
                self._connection,
                self._registered,
                key=failure.text.key,
                text_hash=failure.text.hash,
                error=failure.error,
                retry=failure.retry,
            )
        forget_failures(
            self._connection,
            self._registered,
            [text.key for success in encoded for text in success.texts],
        )
        release(self._connection, batch)
        left = len(texts) + len(empty) - written - len(failed) - cleared
        return Round(written, len(failed), left)


@dataclass(frozen=True, slots=True)
class _Success:
    texts: list[Text]
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class _Failure:
    text: Text
    error: str
    retry: bool


def _encode(
    encoder: Encoder, registered: Registered, texts: list[Text]
) -> tuple[list[_Success], list[_Failure]]:
    """Encode the texts; if that fails, halve them until the ones that fail stand alone.

    A ModelError or a lack of memory is nobody's text: it is raised, and no row is blamed.
    """
    if not texts:
        return [], []
    try:
        encoded = encoder.encode(
            [text.text for text in texts], dimensions=registered.declaration.dimensions
        )
        _check_vectors(registered, texts, encoded)
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever a text does to the encoder is recorded
        if len(texts) == 1:
            message = str(error) if isinstance(error, GtePgError) else repr(error)
            logger.warning("row %s cannot be encoded: %s", texts[0].key, message)
            return [], [_Failure(texts[0], message, retry=not isinstance(error, EncodingError))]
        middle = len(texts) // 2
        first, first_failed = _encode(encoder, registered, texts[:middle])
        second, second_failed = _encode(encoder, registered, texts[middle:])
        return first + second, first_failed + second_failed
    return [_Success(texts, encoded)], []


def _check_vectors(registered: Registered, texts: list[Text], encoded: Encoded) -> None:
    expected = (len(texts), registered.declaration.dimensions)
    if encoded.dense.shape != expected:
        raise EncodingError(
            f"the encoder gave vectors of shape {encoded.dense.shape} where {expected} was expected"
        )
    if not np.isfinite(encoded.dense).all():
        raise EncodingError("the encoder gave a vector that is not finite")
