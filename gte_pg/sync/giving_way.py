"""What needs a table for itself, if only for a moment, must not hold up who uses the table.

Who waits for a table holds up everybody who comes later: it gives way soon, before Postgres looks for a
deadlock, and tries again, ever more rarely.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from gte_pg.database import Connection

GIVE_WAY = sql.SQL("SET LOCAL lock_timeout = '300ms'")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.3, 10.0


def briefly(connection: Connection, work: Callable[[], object]) -> None:
    """Do what needs a table for a moment, in a transaction, as soon as nobody has it for long.

    Blocks until then: a transaction of others that uses the table may take hours.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(GIVE_WAY)
                work()
        except psycopg.errors.LockNotAvailable:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        else:
            return
