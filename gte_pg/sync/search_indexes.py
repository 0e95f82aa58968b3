"""Build the search indexes once the vectors are there, and repair what a cancelled build left."""

from __future__ import annotations

import logging

from psycopg import sql

from gte_pg.database import Connection
from gte_pg.declaration import Declaration, create_search_indexes

logger = logging.getLogger(__name__)

_INDEX = """
SELECT i.indisvalid FROM pg_index i
WHERE i.indexrelid = to_regclass(%s)
"""

_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)"

# A graph that does not fit in memory builds many times slower.
_BUILD_MEMORY = """
SELECT set_config('maintenance_work_mem', greatest(
    pg_size_bytes(current_setting('maintenance_work_mem')), pg_size_bytes('512MB')
) / 1024 || 'kB', false)
"""


def missing_search_indexes(
    connection: Connection, declaration: Declaration
) -> dict[str, sql.Composed]:
    """Return the search indexes that are absent or INVALID, with the statement that builds each."""
    (partitioned,) = connection.execute(
        _IS_PARTITIONED, (declaration.relation.as_string(),)
    ).fetchone() or (False,)
    wanted = create_search_indexes(declaration, concurrently=not partitioned)
    return {
        name: statement
        for name, statement in wanted.items()
        if _validity(connection, declaration, name) is not True
    }


def build_search_index(
    connection: Connection, declaration: Declaration, name: str, statement: sql.Composed
) -> None:
    """Build one index without blocking writes; blocks until it is there (minutes for large tables).

    The connection must be in autocommit: CREATE INDEX CONCURRENTLY has transactions of its own.
    """
    if _validity(connection, declaration, name) is False:
        logger.warning("the index %s is INVALID (a build was cancelled): building it anew", name)
        drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}")
        connection.execute(drop.format(_qualified(declaration, name)))
    connection.execute(_BUILD_MEMORY)
    try:
        connection.execute(statement)
    finally:
        connection.execute("RESET maintenance_work_mem")


def update_statistics(connection: Connection, declaration: Declaration) -> None:
    """Let Postgres look at a sample of the table: a search's plan depends on it. Takes about a second."""
    connection.execute(sql.SQL("ANALYZE {}").format(declaration.relation))


def _validity(connection: Connection, declaration: Declaration, name: str) -> bool | None:
    row = connection.execute(_INDEX, (_qualified(declaration, name).as_string(),)).fetchone()
    return bool(row[0]) if row else None


def _qualified(declaration: Declaration, name: str) -> sql.Identifier:
    return sql.Identifier(*filter(None, (declaration.schema, name)))
