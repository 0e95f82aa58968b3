"""The process: a socket, an event loop, and an end in good order."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import uvicorn

from gte_pg.errors import GtePgError
from gte_pg.serve.app import application
from gte_pg.serve.service import Service
from gte_pg.serve.settings import Settings

__all__ = ["serve"]

# A last limit, for clients that open connections and say nothing.
MOST_CONNECTIONS = 1_000
IDLE_SECONDS = 30


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT: then the requests at hand are answered, and no more are taken.

    Blocks. The models of the settings are loaded before the server listens; `announce` is called
    with its URL when it is about to. Raises GtePgError where the address cannot be had, ModelError.
    """
    with _bound(settings) as listener:
        asyncio.run(_serve(settings, listener, announce))


async def _serve(
    settings: Settings, listener: socket.socket, announce: Callable[[str], None]
) -> None:
    service = Service.start(settings)
    try:
        for model in settings.models:
            await service.models.get(model, "float32")
        service.database.open()
        config = uvicorn.Config(
            application(service, settings),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=round(settings.seconds) + 1,
        )
        server = uvicorn.Server(config)
        # uvicorn puts its own handlers in place of these, and when it has ended in good order raises
        # the signal again: for these, which let the process leave with 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        announce(_url(listener))
        await server.serve(sockets=[listener])
    finally:
        service.close()


def _bound(settings: Settings) -> socket.socket:
    """Take the address, without listening yet: who comes too early is refused and not left waiting."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise GtePgError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; "
            "choose others with --host and --port"
        ) from error
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
