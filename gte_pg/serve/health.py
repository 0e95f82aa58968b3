"""GET /healthz: the process answers; GET /readyz: it can search; GET /metrics: its numbers."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gte_pg.serve.gate import Gate
from gte_pg.serve.service import Service

__all__ = ["health_routes"]

READY_SECONDS = 2.0
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def health_routes(service: Service, gate: Gate) -> list[Route]:
    """Return the routes that watch the server. The first two are open to all and tell nothing."""

    async def readyz(_request: Request) -> Response:
        try:
            async with asyncio.timeout(READY_SECONDS):
                await service.database.run(lambda connection: connection.execute("SELECT 1"))
        except Exception:  # noqa: BLE001 - whatever it is, it is not ready
            return JSONResponse({"ready": False, "why": "the database does not answer"}, 503)
        return JSONResponse({"ready": True})

    async def metrics(request: Request) -> Response:
        gate.check(request)
        return Response(service.metrics.written(), media_type=METRICS_TYPE)

    return [
        Route("/healthz", _healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]


async def _healthz(_request: Request) -> Response:
    return PlainTextResponse("ok\n")
