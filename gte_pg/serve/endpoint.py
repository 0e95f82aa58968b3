"""One request from its head to its answer's end: gate, size, body, time limit, errors, numbers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from gte_pg.serve.fields import Fields
from gte_pg.serve.gate import Gate
from gte_pg.serve.intake import Intake
from gte_pg.serve.problem import Problem, busy, problem_of
from gte_pg.serve.service import Service

__all__ = ["Answer", "Endpoint"]

# Returns the answer's JSON.
Answer = Callable[[Service, Fields], Coroutine[None, None, bytes]]

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Endpoint:
    """An ASGI application that answers POST requests to one path with `answer`."""

    path: str
    answer: Answer
    service: Service
    gate: Gate
    intake: Intake
    seconds: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        exchange = _Exchange(self, Request(scope, receive), send)
        try:
            await exchange.run()
        finally:
            metrics = self.service.metrics
            metrics.requests.labels(self.path, str(exchange.status)).inc()
            metrics.request_seconds.labels(self.path).observe(time.perf_counter() - started)


@dataclass
class _Exchange:
    endpoint: Endpoint
    request: Request
    send: Send
    status: int = 500
    _answering: bool = field(default=False, init=False)

    async def run(self) -> None:
        """Answer. An error that was not foreseen is raised, for the server to log and answer."""
        try:
            async with asyncio.timeout(self.endpoint.seconds):
                self.endpoint.gate.check(self.request)
                with self.endpoint.intake.room(self.request):
                    body = await self._body()
                await self._answer(200, JSON, body)
        except ClientDisconnect:
            self.status = CLIENT_LEFT
        except Exception as error:
            problem = self._problem(error)
            if problem is None:
                raise
            if problem.status == 500:
                logger.error("%s: %s", self.endpoint.path, problem)
            await self._answer(problem.status, JSON | problem.headers, problem.body)

    async def _body(self) -> bytes:
        body = await self.endpoint.intake.read(self.request)
        return await _unless_left(
            self.request.receive, self.endpoint.answer(self.endpoint.service, Fields(body))
        )

    async def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        if self._answering:  # its client read so slowly that time is up; the connection is closed
            self.status = CLIENT_LEFT
            return
        self._answering = True
        self.status = status
        await self.endpoint.intake.send(self.send, status, headers, body)

    def _problem(self, error: Exception) -> Problem | None:
        if isinstance(error, TimeoutError):
            return busy(f"the answer took longer than {self.endpoint.seconds:g} s")
        return problem_of(error)


async def _unless_left(receive: Receive, work: Awaitable[bytes]) -> bytes:
    """Wait for an answer for as long as its client does. Raises ClientDisconnect."""
    answer = asyncio.ensure_future(work)
    left = asyncio.ensure_future(receive())
    try:
        await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        answer.cancel()
        left.cancel()
