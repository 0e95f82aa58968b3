"""A table that another transaction has for itself.

Who asks something of it waits for about a second (see gte_pg/sync/settings.py), and then sees to other
tables, or leaves if told to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from gte_pg.database import Connection, Registered
from gte_pg.errors import DatabaseError
from gte_pg.sync.planned_rows import planned_rows
from gte_pg.sync.settings import impatient


class TableLocked(DatabaseError):  # noqa: N818 - reads as what happened
    """Another transaction has the table, or something that its triggers need, for itself."""


@contextmanager
def telling_of_locks(registered: Registered) -> Iterator[None]:
    """Raise TableLocked where a lock was waited for in vain."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise TableLocked(
            f"the table {registered.declaration.written} is locked by another transaction (ALTER TABLE, "
            "VACUUM FULL, or one that was forgotten: see the oldest xact_start in pg_stat_activity): its "
            "rows stay pending until that ends"
        ) from error


@contextmanager
def while_free(connection: Connection, registered: Registered) -> Iterator[None]:
    """Open a transaction that reads the catalog of a table; raise TableLocked if that is locked.

    An index of it would be waited for as long as it is.
    """
    with telling_of_locks(registered), impatient(connection):
        planned_rows(
            connection, registered.declaration.vectors
        )  # takes the lock that any SELECT takes
        yield
