"""The indexes of an embedding, as they are in the database."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, Index, object_name, operator_class
from gte_pg.errors import DatabaseError
from gte_pg.sync.giving_way import briefly

logger = logging.getLogger(__name__)

# Why an index is dropped.
NOT_AS_DECLARED = "is not of the declared kind"
CANCELLED = "is INVALID (a build was cancelled)"
SPARE = "is beside one that Postgres has made for a new partition"

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
WHERE i.indrelid = to_regclass(%(table)s) AND m.amname = %(method)s
  AND CASE %(method)s WHEN 'btree' THEN i.indkey[0] = a.attnum
          AND pg_get_expr(i.indpred, i.indrelid) = pg_catalog.format('(%%I IS NOT NULL)', a.attname)
      ELSE i.indpred IS NULL END
  AND (%(method)s <> 'hnsw' OR o.opcname = %(operator_class)s AND held.atttypmod = %(dimensions)s)
  AND EXISTS (
      SELECT FROM pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum
  )
ORDER BY i.indisvalid DESC
"""

# What has the name all the same: an index of the table that holds something else, or what is left of its
# build. An index of another table, which had this one's name before, is not ours to drop.
_NAMED = """
SELECT i.indexrelid::regclass::text
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
WHERE i.indexrelid = to_regclass(%s) AND i.indrelid = to_regclass(%s)
  AND (NOT i.indisvalid OR m.amname = %s)
"""

# Nobody's build of it, nor what is left of one.
_IS_TAKEN = """
SELECT EXISTS (
    SELECT FROM pg_class AS c
    LEFT JOIN pg_index AS i ON i.indexrelid = c.oid AND i.indrelid = to_regclass(%s)
    LEFT JOIN pg_am AS m ON m.oid = c.relam
    WHERE c.oid = to_regclass(%s) AND (i.indexrelid IS NULL OR m.amname <> %s)
)"""

# Two that build the same index would take each other's for the leftover of a build. Of a build by another
# role one is told no more than that there is one. (A lock of the session would get lost in a pooler.)
_IS_BUILDING = """
SELECT EXISTS (
    SELECT FROM pg_stat_progress_create_index
    WHERE datname = current_database() AND (relid IS NULL OR relid = to_regclass(%s))
)"""


def find_index(
    connection: Connection, table: sql.Identifier, declaration: Declaration, index: Index
) -> dict[str, bool]:
    """Return the indexes of `table`, the one with the vectors or a partition of it, that are of the
    declared kind, by their names as SQL writes them: whether each is valid. Valid ones come first.
    """
    values = {
        "table": table.as_string(),
        "column": index.column,
        "method": index.method,
        "operator_class": operator_class(declaration),
        "dimensions": declaration.indexed_dimensions,
    }
    return {str(name): bool(valid) for name, valid in connection.execute(_FIND, values)}


def is_building(connection: Connection, table: sql.Identifier) -> bool:
    """Whether somebody is building an index of this very table, or may be."""
    return connection.execute(_IS_BUILDING, (table.as_string(),)).fetchone() == (True,)


def named_otherwise(
    connection: Connection,
    name: sql.Identifier,
    table: sql.Identifier,
    declaration: Declaration,
    index: Index,
) -> str | None:
    """Return the index of `table` that has this name and is not of the declared kind, as SQL writes it."""
    row = connection.execute(_NAMED, (name.as_string(), table.as_string(), index.method)).fetchone()
    if row is None or row[0] in find_index(connection, table, declaration, index):
        return None
    return str(row[0])


def is_taken(
    connection: Connection, name: sql.Identifier, table: sql.Identifier, index: Index
) -> bool:
    """Whether something has this name that is no such index of `table`."""
    values = (table.as_string(), name.as_string(), index.method)
    return connection.execute(_IS_TAKEN, values).fetchone() == (True,)


def free_name(connection: Connection, registered: Registered, index: Index) -> Index:
    """Return the index under a name that nothing else has: a table of the same name may have had it before.

    Raises DatabaseError if there is none.
    """
    declaration = registered.declaration
    for name in (index.name, object_name(index.name, str(registered.id))):
        own = declaration.index_path(name)
        place = (connection, own, declaration.vectors)
        if not is_taken(*place, index) or named_otherwise(*place, declaration, index) is not None:
            return replace(index, name=name)
    raise taken_name(own)


def in_the_way(
    connection: Connection, declaration: Declaration, index: Index, tables: list[sql.Identifier]
) -> dict[str, str]:
    """Return what has to be dropped before an index that is missing can be built, and why."""
    found = {
        name: CANCELLED
        for table in tables
        for name, is_valid in find_index(connection, table, declaration, index).items()
        if not is_valid
    }
    own = declaration.index_path(index.name)
    other = named_otherwise(connection, own, declaration.vectors, declaration, index)
    return found if other is None else found | {other: NOT_AS_DECLARED}


def taken_name(name: sql.Identifier) -> DatabaseError:
    """Return the error for an index that cannot be built because of what has its name."""
    return DatabaseError(
        f"the index {name.as_string()} cannot be built: something else has that name. Rename it, and "
        "run gte-pg sync again"
    )


def drop_index(connection: Connection, name: str, why: str, *, concurrently: bool = True) -> None:
    """Drop an index that is of no use; `name` as SQL writes it. That of a partitioned table cannot be
    dropped `concurrently`.
    """
    logger.warning("the index %s %s: dropped", name, why)
    drop = drop_statement(name, concurrently=concurrently)
    if concurrently:
        connection.execute(drop)
    else:
        briefly(connection, partial(connection.execute, drop))


def drop_statement(name: str, *, concurrently: bool) -> sql.Composed:
    """Return the statement that drops an index; `name` as SQL writes it."""
    return sql.SQL("DROP INDEX {}IF EXISTS {}").format(
        sql.SQL("CONCURRENTLY " if concurrently else ""), sql.SQL(name)
    )
