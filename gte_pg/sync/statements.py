"""The statements that a worker runs, for a person to read."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Index, pending_index
from gte_pg.sync.claim import Claims
from gte_pg.sync.copy_keys import copy_statement, is_copied
from gte_pg.sync.find_index import (
    drop_statement,
    free_name,
    in_the_way,
    is_building,
)
from gte_pg.sync.indexes import is_missing, is_partitioned, missing_search_indexes
from gte_pg.sync.read import Reader
from gte_pg.sync.write_back import Writer

_PARTITIONS = """
SELECT n.nspname, c.relname FROM pg_partition_tree(to_regclass(%s)) AS t
JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY t.level, c.oid
"""


def worker_statements(connection: Connection, registered: Registered) -> dict[str, sql.Composable]:
    """Return by what they are for, in their order, the statements that `gte-pg sync` would run.

    Values are placeholders, `%(name)s`: a worker binds them for each batch. The index of a partitioned
    table is one statement, which holds up writers: a worker takes many, which depend on each other.
    """
    claims = Claims(connection, registered, owner="", lease=timedelta())
    declaration = registered.declaration
    missing = missing_search_indexes(connection, declaration)
    pending = pending_index(declaration)
    queue = [pending] if is_missing(connection, declaration, pending) else []
    copying = {} if is_copied(connection, registered) else {"copy keys": copy_statement(registered)}
    return {
        **copying,
        **_builds(connection, registered, queue),
        "claim a batch of pending rows": claims.statement(),
        "read their texts": Reader(connection, declaration).statement(),
        **Writer(connection, registered).statements(),
        **_builds(connection, registered, missing),
    }


def _builds(
    connection: Connection, registered: Registered, indexes: list[Index]
) -> dict[str, sql.Composable]:
    declaration = registered.declaration
    partitions = connection.execute(_PARTITIONS, (declaration.vectors.as_string(),)).fetchall()
    tables = [sql.Identifier(*names) for names in partitions] or [declaration.vectors]
    if any(is_building(connection, table) for table in tables):
        return {}  # what is there is no leftover
    partitioned = is_partitioned(connection, declaration)
    holds_up = ": it holds up writers, gte-pg sync does it without" if partitioned else ""
    statements: dict[str, sql.Composable] = {}
    for index in indexes:
        named = free_name(connection, registered, index)
        for name, why in in_the_way(connection, declaration, named, tables).items():
            drop = drop_statement(name, concurrently=not partitioned)
            statements[f"drop the index {name}, which {why}"] = drop
        create = named.create(declaration, concurrently=not partitioned)
        statements[f"build the index {named.name}{holds_up}"] = create
    return statements
