"""What holds inside the transactions of a sync, and only there: nothing is left behind in the session.

A pooler may hand the next transaction another session.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from gte_pg.database import Connection
from gte_pg.declaration import Declaration

# So long one waits for a lock: a table that another transaction has for itself holds up no other table.
PATIENCE = "1s"

# Rows that a policy hides would look as if they were done: an error instead. A crash of the server that
# takes the last moment's commits with it leaves rows pending, which is nothing lost: no commit waits for
# the disk. Rows are written many at a time, with the triggers of the application: how long a statement may
# take is settled by how many they are, and not by a limit that is meant for requests.
_ALWAYS = {
    "row_security": "off",
    "synchronous_commit": "off",
    "lock_timeout": PATIENCE,
    "statement_timeout": "0",
}

# Without statistics the planner would rather read the whole table than look rows up by key, and compile
# that plan too.
_LOOK_UP_BY_KEY = _ALWAYS | {
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

# Keys are handed from worker to worker as texts, which one session might write as another does not read
# them: 01/02/2026. These can be read by all.
WRITE_KEYS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}

# … or sort all that is pending instead of walking the partial index.
_WALK_INDEX = _LOOK_UP_BY_KEY | WRITE_KEYS | {"enable_bitmapscan": "off", "enable_sort": "off"}

# LOCK TABLE would take rights on the whole table, where a worker may have them on columns.
_LOCK = sql.SQL("SELECT FROM {} LIMIT 0")

_SET = """
SELECT set_config(name, setting, true)
FROM unnest(%s::text[], %s::text[]) AS wanted (name, setting)
"""


@contextmanager
def looking_up(connection: Connection, declaration: Declaration, **settings: str) -> Iterator[None]:
    """Open a transaction in which rows are found by their key."""
    with _transaction(connection, _LOOK_UP_BY_KEY | settings):
        lock_in_order(connection, declaration)
        yield


@contextmanager
def walking(connection: Connection, declaration: Declaration) -> Iterator[None]:
    """Open a transaction in which pending rows are found in the order of their index, to be leased."""
    with _transaction(connection, _WALK_INDEX):
        lock_in_order(connection, declaration)
        yield


def lock_in_order(connection: Connection, declaration: Declaration) -> None:
    """Lock the user's table as any SELECT does, before a statement locks its companion and then it.

    That is the order in which its triggers lock the two. The other way round, an application's TRUNCATE
    and a worker could wait for each other, and Postgres might end the TRUNCATE.
    """
    if declaration.companion is not None:
        lock_to_read(connection, declaration.relation)


def lock_to_read(connection: Connection, *tables: sql.Identifier) -> None:
    """Lock tables, one after the other, as any SELECT does."""
    for table in tables:
        connection.execute(_LOCK.format(table))


@contextmanager
def impatient(connection: Connection) -> Iterator[None]:
    """Open a transaction for anything else: for locks it waits as briefly as the others."""
    with _transaction(connection, _ALWAYS):
        yield


@contextmanager
def _transaction(connection: Connection, settings: dict[str, str]) -> Iterator[None]:
    with connection.transaction():
        connection.execute(_SET, (list(settings), list(settings.values())))
        yield
