"""The bounded queue in front of the encoder, and the batches that leave it.

While the encoder runs, requests gather; what has gathered then runs together, in one turn. So a
lone request never waits for company, and under load small requests share a batch, which takes two
or three times less time than one after the other. A request with many texts takes its turn piece by
piece, and those behind it come in between.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from gte_pg.encoder import Encoded, Encoder
from gte_pg.encoder.encoder import Kind
from gte_pg.errors import EncodingError, GtePgError
from gte_pg.serve.metrics import Metrics
from gte_pg.serve.problem import busy

__all__ = ["EncodedText", "Turns"]

# A turn is short, a tenth of a second or so for a small model: what waits behind it waits so long.
TURN_TEXTS = 32
TURN_CHARACTERS = 16_000


class EncodedText(NamedTuple):
    """One text's vectors: row `row` of what came out of a turn."""

    encoded: Encoded
    row: int

    @property
    def tokens(self) -> int:
        return int(self.encoded.token_counts[self.row])

    @property
    def truncated(self) -> bool:
        return bool(self.encoded.truncated[self.row])


class Way(NamedTuple):
    """How a text is encoded. Texts that are encoded the same way may share a turn."""

    encoder: Encoder
    kind: Kind
    dimensions: int | None


@dataclass(eq=False)
class _Request:
    texts: Sequence[str]
    way: Way
    done: asyncio.Future[None]
    taken: int = 0
    found: dict[int, EncodedText] = field(default_factory=dict)


class _Piece(NamedTuple):
    request: _Request
    start: int
    texts: Sequence[str]


class Turns:
    """Encodes the texts of all requests. For use in one event loop; its threads do the work."""

    def __init__(self, metrics: Metrics, *, most_texts: int) -> None:
        self._metrics = metrics
        self._most = most_texts
        self._present = 0
        self._waiting: list[_Request] = []
        self._parallel = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        self._threads = ThreadPoolExecutor(self._parallel, thread_name_prefix="gte-pg-turn")
        self._running: set[asyncio.Task[None]] = set()

    async def encode(
        self, texts: Sequence[str], encoder: Encoder, *, kind: Kind, dimensions: int | None = None
    ) -> list[EncodedText]:
        """Encode a request's texts, in their order, when their turn comes.

        Raises Problem (503) where there is no room for them, EncodingError with the index of a text
        that cannot be encoded. What is cancelled leaves the queue.
        """
        if self._present and self._present + len(texts) > self._most:
            self._metrics.refused.labels("queue").inc()
            raise busy(f"{self._present:,} texts are waiting to be encoded")
        done = asyncio.get_running_loop().create_future()
        request = _Request(texts, Way(encoder, kind, dimensions), done)
        self._count(len(texts))
        self._waiting.append(request)
        try:
            self._start()
            await done
        finally:
            self._count(-len(texts))
            if request in self._waiting:
                self._waiting.remove(request)
        return [request.found[index] for index in range(len(texts))]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _count(self, texts: int) -> None:
        self._present += texts
        self._metrics.waiting_texts.set(self._present)

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._parallel:
            task = asyncio.create_task(self._run(self._next_turn()))
            self._running.add(task)
            task.add_done_callback(self._after)

    def _after(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    def _next_turn(self) -> list[_Piece]:
        """Take as much as a turn holds. A request with more to come goes behind the others."""
        way = self._waiting[0].way
        pieces: list[_Piece] = []
        passed, unfinished = [], []
        texts, characters = TURN_TEXTS, TURN_CHARACTERS
        for request in self._waiting:
            start = request.taken
            if request.way == way:
                while request.taken < len(request.texts) and texts > 0:
                    size = len(request.texts[request.taken])
                    if size > characters and texts < TURN_TEXTS:
                        break
                    request.taken += 1
                    texts, characters = texts - 1, characters - size
            if request.taken == start:
                passed.append(request)
                continue
            pieces.append(_Piece(request, start, request.texts[start : request.taken]))
            if request.taken < len(request.texts):
                unfinished.append(request)
        self._waiting = passed + unfinished
        return pieces

    async def _run(self, pieces: list[_Piece]) -> None:
        loop = asyncio.get_running_loop()
        started = time.perf_counter()
        try:
            outcomes = await loop.run_in_executor(self._threads, _encode, pieces)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the requests' answer
            outcomes = [error] * len(pieces)
        self._metrics.turn(
            pieces[0].request.way.encoder, _token_counts(outcomes), time.perf_counter() - started
        )
        for piece, outcome in zip(pieces, outcomes, strict=True):
            _deliver(piece, outcome)


def _token_counts(outcomes: Sequence[list[EncodedText] | Exception]) -> list[int]:
    encoded = [text for outcome in outcomes if isinstance(outcome, list) for text in outcome]
    return [text.tokens for text in encoded]


def _deliver(piece: _Piece, outcome: list[EncodedText] | Exception) -> None:
    request = piece.request
    if request.done.done():  # its client has left, or an earlier piece of it has failed
        return
    if isinstance(outcome, Exception):
        request.done.set_exception(outcome)
        return
    # Another turn may have finished a later piece before this one.
    request.found.update(enumerate(outcome, start=piece.start))
    if len(request.found) == len(request.texts):
        request.done.set_result(None)


def _encode(pieces: list[_Piece]) -> list[list[EncodedText] | Exception]:
    """Encode the pieces together; where a text cannot be encoded, that is its own request's error."""
    try:
        encoded = _encode_together(pieces)
    except GtePgError:
        return [_encode_alone(piece) for piece in pieces]
    outcomes: list[list[EncodedText] | Exception] = []
    row = 0
    for piece in pieces:
        outcomes.append([EncodedText(encoded, row + place) for place in range(len(piece.texts))])
        row += len(piece.texts)
    return outcomes


def _encode_alone(piece: _Piece) -> list[EncodedText] | Exception:
    try:
        encoded = _encode_together([piece])
    except EncodingError as error:
        index = None if error.index is None else piece.start + error.index
        return EncodingError(str(error), index=index)
    except GtePgError as error:
        return error
    return [EncodedText(encoded, row) for row in range(len(piece.texts))]


def _encode_together(pieces: list[_Piece]) -> Encoded:
    encoder, kind, dimensions = pieces[0].request.way
    texts = [text for piece in pieces for text in piece.texts]
    return encoder.encode(texts, kind=kind, dimensions=dimensions)
