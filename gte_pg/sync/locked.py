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
from gte_pg.sync.settings import impatient, lock_to_read


class TableLocked(DatabaseError):  # noqa: N818 - reads as what happened
    """Another transaction has the table, or something that its triggers need, for itself."""


@contextmanager
def telling_of_locks(registered: Registered) -> Iterator[None]:
    """Raise TableLocked where a lock was waited for in vain."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        # A trigger of the application may wait for quite another table.
        context = (error.diag.context or "").splitlines()
        raise TableLocked(
            f"the table {registered.declaration.written} is locked by another transaction (ALTER TABLE, "
            "VACUUM FULL, or one that was forgotten: see the oldest xact_start in pg_stat_activity): "
            "nothing is done with it until that ends" + "".join(f"; {line}" for line in context[:2])
        ) from error


@contextmanager
def while_free(connection: Connection, registered: Registered) -> Iterator[None]:
    """Open a transaction that asks something of a table and its companion; raise TableLocked if one of
    them is locked.

    What reads the catalog alone would wait for an index of it as long as it is.
    """
    declaration = registered.declaration
    with telling_of_locks(registered), impatient(connection):
        lock_to_read(connection, declaration.relation, declaration.vectors)
        yield
