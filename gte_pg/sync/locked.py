"""A table that another transaction has for itself.

Who asks something of it waits for about a second (see gte_pg/sync/settings.py), and then sees to other
tables, asks again, or leaves if told to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from gte_pg.database import Connection, Registered, connect
from gte_pg.errors import DatabaseError
from gte_pg.sync.settings import impatient, lock_to_read
from gte_pg.sync.team import Team

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# A table that is locked is waited for about a minute, as a lost database is.
_LOCKED_SECONDS = (0.5, 1, 2, *[5] * 10)


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


def ask(
    team: Team,
    registered: Registered,
    question: Callable[[Connection, Registered], Answer],
    *,
    patient: bool = True,
) -> Answer:
    """Ask in a transaction of its own, on a new connection: an older one may have been idle for too long.

    A table that is locked is waited for about a second or, by whoever is `patient` and not told to stop, a
    minute. Raises TableLocked then.
    """

    def once() -> Answer:
        with connect(team.dsn) as connection, while_free(connection, registered):
            return question(connection, registered)

    for pause in _LOCKED_SECONDS if patient else ():
        try:
            return once()
        except TableLocked as error:
            if team.stop.is_set():
                raise
            logger.warning("%s; again in %s s", error, pause)
            team.stop.wait(pause)
    return once()
