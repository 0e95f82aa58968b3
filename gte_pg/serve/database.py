"""The server's own connections to Postgres: a few of them, each statement under a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from gte_pg.database import Connection
from gte_pg.database.connect import find_vector_types
from gte_pg.serve.metrics import Metrics
from gte_pg.serve.problem import busy

__all__ = ["Database"]

Result = TypeVar("Result")

# So many callers may wait for each connection; and so long, in seconds, for one to be opened.
WAITING_PER_CONNECTION = 16
CONNECT_SECONDS = 5.0


class Database:
    """A pool of connections. For use in one event loop; its threads wait for Postgres."""

    def __init__(
        self, dsn: str, metrics: Metrics, *, connections: int, statement_seconds: float
    ) -> None:
        self._metrics = metrics
        self._most = connections * (1 + WAITING_PER_CONNECTION)
        self._present = 0
        self._limit = f"{round(statement_seconds * 1000)}ms"
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="gte-pg-search")
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            connection_class=psycopg.Connection[tuple[Any, ...]],
            kwargs={"autocommit": True, "application_name": "gte-pg serve"},
            min_size=1,
            max_size=connections,
            timeout=CONNECT_SECONDS,
            configure=_prepare,
            # A connection that a restart of Postgres cut is noticed before it is used.
            check=ConnectionPool.check_connection,
            open=False,
        )

    def open(self) -> None:
        """Start connecting, and keep trying: Postgres may come later than the server."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close the connections. Blocks until the statements that run have ended."""
        self._threads.shutdown(cancel_futures=True)
        self._pool.close()

    async def run(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a read-only transaction and return what it returns.

        Raises what it raises; PoolTimeout where there is no connection, Problem (503) where too many
        wait for one, psycopg.errors.QueryCanceled for a statement beyond the limit.
        """
        if self._present >= self._most:
            self._metrics.refused.labels("database").inc()
            raise busy(f"{self._present} searches are waiting for the database")
        self._present += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._in_transaction, work)
        finally:
            self._present -= 1

    def _in_transaction(self, work: Callable[[Connection], Result]) -> Result:
        with self._pool.connection() as connection, connection.transaction():
            # In the transaction, so that it also holds behind a connection pooler.
            connection.execute("SELECT set_config('statement_timeout', %s, true)", (self._limit,))
            return work(connection)


def _prepare(connection: Connection) -> None:
    find_vector_types(connection)
    connection.read_only = True
