"""Build an index on a partitioned table without blocking writes.

Postgres has no CREATE INDEX CONCURRENTLY for a partitioned table, but it can put one together: an empty
index on each partitioned table, one built CONCURRENTLY on each leaf, and each attached to the one above.
The index of the table is valid when all of them are there; a build that was cancelled goes on. An index of
another kind that has the name is dropped first, which needs the table for itself for a moment.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection
from gte_pg.declaration import Declaration, Index, object_name
from gte_pg.sync.find_index import (
    CANCELLED,
    NOT_AS_DECLARED,
    drop_index,
    is_building,
    is_taken,
    named_otherwise,
    taken_name,
)

# The table itself first.
_TREE = """
SELECT n.nspname, c.relname, t.isleaf, pn.nspname, p.relname
FROM pg_partition_tree(to_regclass(%s)) AS t
JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_class AS p ON p.oid = t.parentrelid AND t.level > 0
LEFT JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
ORDER BY t.level
"""

_IS_INVALID = """
SELECT NOT indisvalid FROM pg_index
WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s)
"""


def build_partitioned_index(connection: Connection, declaration: Declaration, index: Index) -> None:
    """Build or complete it; blocks until it is there. The connection must be in autocommit.

    Where somebody else is building a part of it, the rest is left to them.
    """
    rows = connection.execute(_TREE, (declaration.vectors.as_string(),)).fetchall()
    names: dict[tuple[str, str], sql.Identifier] = {}
    for schema, table, is_leaf, parent_schema, parent in rows:
        is_root = parent is None
        name = index.name if is_root else object_name(table, declaration.name, index.method)
        names[schema, table] = sql.Identifier(schema, name)
        relation, own = sql.Identifier(schema, table), names[schema, table]
        other = named_otherwise(connection, own, relation, declaration, index)
        if other is not None:
            # That of the table takes those of its partitions along.
            drop_index(connection, other, NOT_AS_DECLARED, concurrently=is_leaf)
        names_of = (own.as_string(), relation.as_string())
        if is_leaf and connection.execute(_IS_INVALID, names_of).fetchone() == (True,):
            if is_building(connection, relation):
                return
            drop_index(connection, own.as_string(), CANCELLED)
        connection.execute(
            sql.SQL("CREATE INDEX {}IF NOT EXISTS {} ON {}{} USING {}").format(
                sql.SQL("CONCURRENTLY " if is_leaf else ""),
                sql.Identifier(name),
                sql.SQL("" if is_leaf else "ONLY "),
                relation,
                index.definition,
            )
        )
        if is_taken(connection, own, relation, index):
            raise taken_name(own)
        if not is_root:
            connection.execute(
                sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(
                    names[parent_schema, parent], own
                )
            )
