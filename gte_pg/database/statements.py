"""Composed statements on their way to the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from psycopg import sql
from sqlalchemy import Connection, CursorResult
from sqlalchemy.exc import DBAPIError

from gte_pg.database.connect import Connection as PlainConnection
from gte_pg.errors import DatabaseError


def ask(connection: Connection, statement: sql.Composable) -> CursorResult[Any]:
    """Run one statement as it stands, on SQLAlchemy's connection: `%` and `:` mean nothing special."""
    return connection.exec_driver_sql(
        statement.as_string(), execution_options={"no_parameters": True}
    )


def run(connection: Connection, statement: sql.Composable) -> None:
    """Run one statement that has no answer, as `ask` does."""
    ask(connection, statement).close()


class _Plain:
    """What works on a psycopg connection, on SQLAlchemy's, synchronous or not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, query: str | sql.Composable, params: Any = None) -> CursorResult[Any]:
        if isinstance(query, sql.Composable):
            return ask(self._connection, query)
        return self._connection.exec_driver_sql(query, params)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Open a transaction on a connection in autocommit; errors are the driver's own."""
        self.execute("BEGIN")
        try:
            yield
        except DBAPIError as error:
            self.execute("ROLLBACK")
            raise (error.orig or error) from error
        self.execute("COMMIT")

    @property
    def info(self) -> Any:
        driver: Any = self._connection.connection.driver_connection
        return driver.info

    @property
    def closed(self) -> bool:
        return self._connection.closed or self._connection.invalidated


def plain_connection(connection: Connection) -> PlainConnection:
    """Return SQLAlchemy's connection in the form of psycopg's: strings may have parameters, no others.

    Raises DatabaseError for a driver that is too unlike psycopg: asyncpg.
    """
    if not hasattr(connection.connection.driver_connection, "info"):
        raise DatabaseError(
            "gte-pg adds and drops embeddings through psycopg, and this connection is "
            f"{connection.dialect.driver}'s: run create_all, drop_all and migrations on "
            "postgresql+psycopg://…; the application may go on as it is"
        )
    return cast("PlainConnection", _Plain(connection))


def postgres_version(connection: Connection) -> int:
    """Return the major version of the server."""
    version = connection.dialect.server_version_info
    assert version is not None
    return int(version[0])


def fill(template: sql.SQL, **parts: sql.Composable) -> sql.Composed:
    """Fill a statement that is run with parameters: a `%` in a name is not taken for a placeholder."""
    escaped = {name: sql.SQL(part.as_string().replace("%", "%%")) for name, part in parts.items()}
    return template.format(**escaped)
