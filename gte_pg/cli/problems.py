"""What is wrong with one embedding hides no other: it is said when all of them have been looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError

from gte_pg.database import Connection, Registered
from gte_pg.errors import DatabaseError, GtePgError


@contextmanager
def noting_problems(
    connection: Connection, registered: Registered, problems: list[DatabaseError]
) -> Iterator[None]:
    """Add to `problems` what is wrong with this embedding. A lost connection is raised."""
    try:
        yield
    except GtePgError as error:
        problems.append(DatabaseError(str(error)))
    except psycopg.Error as error:
        if connection.closed:
            raise
        written = registered.declaration.written
        problems.append(DatabaseError(f"{written}: {said(error)}"))


def said(error: BaseException) -> str:
    """Return what an error says; if it is Postgres', also what to do where it may not be written to."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, GtePgError):
        return str(error)
    words = f"Postgres says: {str(error).strip()}"
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        words += (
            ". This server is a read-only standby, or default_transaction_read_only is on for this role or "
            "database: connect to the primary (target_session_attrs=read-write in the DSN finds it among "
            "several hosts), or switch that off"
        )
    return words


def raise_problems(problems: list[DatabaseError]) -> None:
    """Raise all of them as one DatabaseError, a line each, if there are any."""
    if problems:
        raise DatabaseError("\n".join(map(str, problems)))
