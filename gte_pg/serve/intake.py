"""What comes in and what goes out: limits on the size of a request, and on all of them together.

The memory of the server is bounded by this count and by the queue of texts, not by how many clients
there are: what would go beyond is turned away with 503.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.types import Send

from gte_pg.serve.metrics import Metrics
from gte_pg.serve.problem import Problem, busy

__all__ = ["Intake"]

# So many of the largest requests fit into memory at once.
LARGEST_AT_ONCE = 8
CHUNK = 64 * 1024


class Intake:
    """Counts the bytes of all requests and answers. For use in one event loop."""

    def __init__(self, metrics: Metrics, *, most_bytes: int) -> None:
        self._metrics = metrics
        self._most = most_bytes
        self._held = 0

    @contextmanager
    def room(self, request: Request) -> Iterator[None]:
        """Hold room for a request's body; where its length is not told, for the largest.

        Raises Problem (413, 503).
        """
        length = request.headers.get("content-length", "")
        size = int(length) if length.isdecimal() else self._most
        if size > self._most:
            raise self._too_large(f"{size:,}")
        if self._held + size > self._most * LARGEST_AT_ONCE:
            self._metrics.refused.labels("memory").inc()
            raise busy("the requests at hand take all the memory that they may")
        with self._holding(size):
            yield

    async def read(self, request: Request) -> bytes:
        """Return a request's body. Raises Problem (413), starlette's ClientDisconnect."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._most:
                raise self._too_large(f"more than {self._most:,}")
        return bytes(body)

    async def send(self, send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
        """Send an answer, no faster than its client reads it."""
        headers = {"content-length": str(len(body)), **headers}
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        with self._holding(len(body)):
            for start in range(0, len(body), CHUNK):
                chunk = body[start : start + CHUNK]
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    @contextmanager
    def _holding(self, size: int) -> Iterator[None]:
        self._count(size)
        try:
            yield
        finally:
            self._count(-size)

    def _count(self, size: int) -> None:
        self._held += size
        self._metrics.held_bytes.set(self._held)

    def _too_large(self, size: str) -> Problem:
        return Problem(
            413, f"the request has {size} bytes; send at most {self._most:,} (--max-request-mb)"
        )
