"""What needs a table for itself, if only for a moment, must not hold up who uses the table.

Who waits for a table holds up everybody who comes later: it gives way soon, before Postgres looks for a
deadlock, and tries again, ever more rarely. An autovacuum gives way to others, but only when Postgres has
looked: now and then one waits for that.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from gte_pg.database import Connection

logger = logging.getLogger(__name__)

_BRIEF = "300ms"
_TRIES_PER_PATIENT_ONE = 3

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.3, 10.0

# Who vacuums is not told to everybody, locks are. CREATE INDEX CONCURRENTLY has the same, and stays.
_GIVE_WAY = sql.SQL("""
SELECT set_config('lock_timeout', CASE WHEN {is_patient} AND EXISTS (
    SELECT FROM pg_catalog.pg_locks AS l JOIN pg_catalog.pg_database AS d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.mode = 'ShareUpdateExclusiveLock'
) THEN setting::int + 300 || 'ms' ELSE {brief} END, true)
FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'""")


def give_way(tries: int) -> sql.Composed:
    """Return what says how long a transaction waits for its locks, after so many tries: 300 ms.

    After every few it is long enough for an autovacuum to be ended, where one may be in the way.
    """
    is_patient = tries % _TRIES_PER_PATIENT_ONE == _TRIES_PER_PATIENT_ONE - 1
    return _GIVE_WAY.format(is_patient=sql.Literal(is_patient), brief=sql.Literal(_BRIEF))


def briefly(connection: Connection, work: Callable[[], object]) -> None:
    """Do what needs a table for a moment, in a transaction, as soon as nobody has it for long.

    Blocks until then: a transaction of others that uses the table may take hours.
    """
    tries, pause = 0, _FIRST_PAUSE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(give_way(tries))
                work()
        except psycopg.errors.LockNotAvailable:
            time.sleep(pause)
            tries, pause = tries + 1, min(2 * pause, _LONGEST_PAUSE_SECONDS)
            if pause == _LONGEST_PAUSE_SECONDS:
                logger.warning(
                    "waiting for a table that others use all the while: a transaction holds a lock on it; "
                    "find it in pg_stat_activity (the oldest xact_start)"
                )
        else:
            return
