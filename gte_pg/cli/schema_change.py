"""Run statements that need a user's table for themselves for a moment, without holding up its users."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

import psycopg
from psycopg import sql
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from gte_pg.cli.print_sql import print_statements
from gte_pg.database import (
    Registered,
    engine,
    lock_unchanged,
    plain_connection,
    run,
    vector_path,
)
from gte_pg.errors import DatabaseError
from gte_pg.sync.giving_way import give_way

_TRIES = 20
_PAUSE_SECONDS = 0.3


def change_schema(
    dsn: str,
    table: str,
    statements: Callable[[Connection], Iterable[sql.Composable]],
    *,
    present: Sequence[Registered] = (),
    print_sql: bool = False,
) -> None:
    """Run what `statements` gives, in one transaction; tries for some ten seconds to get its locks.

    With `print_sql` it only prints them. Raises DatabaseError if others use the table all the while, or if
    an embedding of `present`, of which the statements were made, has changed since it was read.
    """
    if print_sql:
        with engine(dsn).connect() as connection:
            path = _find_vector_types(connection)
            print_statements([*path, *statements(connection)])
        return
    for tries in range(_TRIES):
        try:
            with engine(dsn).begin() as transaction:
                run(transaction, give_way(tries))
                path = _find_vector_types(transaction)
                lock_unchanged(plain_connection(transaction), present)
                for statement in [*path, *statements(transaction)]:
                    run(transaction, statement)
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            return
    raise DatabaseError(
        f"the table {table} is in use all the while: a transaction, or a VACUUM, holds a lock on it. Find "
        "it in pg_stat_activity (the oldest xact_start), let it end, and try again"
    )


def _find_vector_types(connection: Connection) -> list[sql.Composed]:
    path = vector_path(plain_connection(connection))
    return [] if path is None else [sql.SQL("SET LOCAL search_path = {}").format(path)]
