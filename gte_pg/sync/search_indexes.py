"""Build the search indexes once the vectors are there, and repair what a cancelled build left."""

from __future__ import annotations

import logging

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, SearchIndex, operator_class, search_indexes
from gte_pg.sync.partitioned_index import build_partitioned_index

logger = logging.getLogger(__name__)

# An index is known by what it indexes, not by its name: the table may have been renamed since, and
# somebody may have made a better one by hand. The type of what an HNSW index holds has the number of its
# dimensions.
_FIND = """
SELECT i.indexrelid::regclass::text, i.indisvalid
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS m ON m.oid = c.relam
JOIN pg_opclass AS o ON o.oid = i.indclass[0]
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attname = %(column)s
JOIN pg_attribute AS held ON held.attrelid = i.indexrelid AND held.attnum = 1
WHERE i.indrelid = to_regclass(%(table)s) AND m.amname = %(method)s AND i.indpred IS NULL
  AND (%(method)s <> 'hnsw' OR o.opcname = %(operator_class)s AND held.atttypmod = %(dimensions)s)
  AND EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum
  )
ORDER BY i.indisvalid DESC
"""

# Whatever else has the name: what is left of a build, or an index that holds something else.
_NAMED = """
SELECT i.indexrelid::regclass::text, i.indisvalid
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
WHERE i.indexrelid = to_regclass(%s) AND (NOT i.indisvalid OR m.amname = %s)
"""

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
        if not any(valid for _, valid in _find(connection, declaration, index))
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
        found = _find(connection, declaration, index)
        if any(valid for _, valid in found):
            return True
        (partitioned,) = connection.execute(
            _IS_PARTITIONED, (declaration.vectors.as_string(),)
        ).fetchone() or (False,)
        connection.execute(_BUILD_MEMORY)
        if partitioned:
            build_partitioned_index(connection, declaration, index)
            return True
        own = (_qualified(declaration, index.name), index.method)
        for name, valid in {*found, *connection.execute(_NAMED, own).fetchall()}:
            why = "is not of the declared kind" if valid else "is INVALID (a build was cancelled)"
            logger.warning("the index %s %s: made anew", name, why)
            drop = sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.SQL(name))
            connection.execute(drop)
        connection.execute(index.create(declaration, concurrently=True))
    finally:
        connection.execute("RESET maintenance_work_mem")
        connection.execute(_UNLOCK, lock)
    return True


def update_statistics(connection: Connection, declaration: Declaration) -> None:
    """Let Postgres look at a sample of the table: a search's plan depends on it. Takes about a second."""
    connection.execute(sql.SQL("ANALYZE {}").format(declaration.vectors))


def _find(
    connection: Connection, declaration: Declaration, index: SearchIndex
) -> list[tuple[str, bool]]:
    values = {
        "table": declaration.vectors.as_string(),
        "column": index.column,
        "method": index.method,
        "operator_class": operator_class(declaration),
        "dimensions": declaration.indexed_dimensions,
    }
    return [(str(name), bool(valid)) for name, valid in connection.execute(_FIND, values)]


def _qualified(declaration: Declaration, name: str) -> str:
    return sql.Identifier(*filter(None, (declaration.schema, name))).as_string()
