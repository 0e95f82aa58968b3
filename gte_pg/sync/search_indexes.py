"""Build the search indexes once the vectors are there, and repair what a cancelled build left."""

from __future__ import annotations

import logging

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, SearchIndex, search_indexes
from gte_pg.sync.find_index import (
    CANCELLED,
    NOT_AS_DECLARED,
    drop_index,
    find_index,
    named_otherwise,
)
from gte_pg.sync.partitioned_index import build_partitioned_index

logger = logging.getLogger(__name__)

_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)"

# Two that build the same index would take each other's for the leftover of a build: "gtei" in ASCII,
# and the embedding's id.
_LOCK = "SELECT pg_try_advisory_lock(%s, %s)"
_UNLOCK = "SELECT pg_advisory_unlock(%s, %s)"
_LOCK_CLASS = int.from_bytes(b"gtei")

# A graph that does not fit in memory builds many times slower.
_BUILD_MEMORY = """
SELECT set_config('maintenance_work_mem', greatest(
    pg_size_bytes(current_setting('maintenance_work_mem')), pg_size_bytes('512MB')
) / 1024 || 'kB', false)
"""


def missing_search_indexes(connection: Connection, declaration: Declaration) -> list[SearchIndex]:
    """Return the search indexes that are absent or INVALID."""
    return [
        index
        for index in search_indexes(declaration)
        if not any(find_index(connection, declaration.vectors, declaration, index).values())
    ]


def build_search_index(connection: Connection, registered: Registered, index: SearchIndex) -> bool:
    """Build one index without blocking writes; blocks until it is there (minutes for large tables).

    The connection must be in autocommit: CREATE INDEX CONCURRENTLY has transactions of its own.
    False: somebody else is building it.
    """
    declaration = registered.declaration
    lock = (_LOCK_CLASS, registered.id)
    if connection.execute(_LOCK, lock).fetchone() != (True,):
        return False
    try:
        found = find_index(connection, declaration.vectors, declaration, index)
        if any(found.values()):
            return True
        (partitioned,) = connection.execute(
            _IS_PARTITIONED, (declaration.vectors.as_string(),)
        ).fetchone() or (False,)
        connection.execute(_BUILD_MEMORY)
        if partitioned:
            build_partitioned_index(connection, declaration, index)
            return True
        for name in found:
            drop_index(connection, name, CANCELLED)
        own = sql.Identifier(*filter(None, (declaration.schema, index.name)))
        other = named_otherwise(connection, own, declaration.vectors, declaration, index)
        if other is not None:
            drop_index(connection, other, NOT_AS_DECLARED)
        connection.execute(index.create(declaration, concurrently=True))
    finally:
        connection.execute("RESET maintenance_work_mem")
        connection.execute(_UNLOCK, lock)
    return True


def update_statistics(connection: Connection, declaration: Declaration) -> None:
    """Let Postgres look at a sample of the table: a search's plan depends on it. Takes about a second.

    Where somebody else does so, or builds an index that waits for us, it is left to them.
    """
    connection.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(declaration.vectors))
