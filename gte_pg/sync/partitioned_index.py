"""Build an index on a partitioned table without blocking writes.

Postgres has no CREATE INDEX CONCURRENTLY for a partitioned table, but it can put one together: one built
CONCURRENTLY on each leaf, an empty index on each partitioned table, and those below attached to it. The
index of the table is valid when all of them are there; a build that was cancelled goes on. An index of
another kind that has the name is dropped first.

The deepest come first: to attach the last part to an index that is attached itself, Postgres locks the
tables above too. To an index that is there Postgres attaches one of a new partition by itself, under a name
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Index, object_name
from gte_pg.sync.find_index import (
    CANCELLED,
    NOT_AS_DECLARED,
    SPARE,
    drop_index,
    free_name,
    is_building,
    is_taken,
    named_otherwise,
    taken_name,
)
from gte_pg.sync.giving_way import briefly

# The table itself first.
_TREE = """
SELECT n.nspname, c.relname, t.isleaf, pn.nspname, p.relname
FROM pg_partition_tree(to_regclass(%s)) AS t
JOIN pg_class AS c ON c.oid = t.relid JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_class AS p ON p.oid = t.parentrelid AND t.level > 0
LEFT JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
ORDER BY t.level, c.oid
"""

_IS_VALID = """
SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s) AND indrelid = to_regclass(%s)
"""

_PART = """
SELECT n.nspname, c.relname
FROM pg_inherits AS h JOIN pg_index AS i ON i.indexrelid = h.inhrelid
JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE h.inhparent = to_regclass(%s) AND i.indrelid = to_regclass(%s)
"""


@dataclass(slots=True)
class _Node:
    """The table or one of its partitions, and its part of the index: the one that is attached, or ours."""

    table: sql.Identifier
    schema: str
    name: str
    is_leaf: bool
    parent: _Node | None = None
    is_attached: bool = False

    @property
    def index(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


def build_partitioned_index(connection: Connection, registered: Registered, index: Index) -> None:
    """Build or complete it; blocks until it is there. The connection must be in autocommit.

    Where somebody else is building a part of it, the rest is left to them.
    """
    nodes = _tree(connection, registered, free_name(connection, registered, index))
    for node in nodes:
        other = named_otherwise(connection, node.index, node.table, registered.declaration, index)
        if other is not None:
            # That of the table takes those of its partitions along.
            drop_index(connection, other, NOT_AS_DECLARED, concurrently=node.is_leaf)
    for node in nodes:
        _look(connection, node)
    for node in reversed(nodes):
        if not node.is_leaf:
            _put_together(connection, node, [one for one in nodes if one.parent is node], index)
        elif not node.is_attached and not _build_leaf(connection, node, index):
            return


def _tree(connection: Connection, registered: Registered, index: Index) -> list[_Node]:
    """Return the table and its partitions, the highest first."""
    # At a switch an embedding takes another's name and keeps its indexes: the id tells them apart.
    suffix = f"{registered.id}_{index.method}"
    nodes: dict[tuple[str, str], _Node] = {}
    for schema, table, is_leaf, parent_schema, parent in connection.execute(
        _TREE, (registered.declaration.vectors.as_string(),)
    ).fetchall():
        above = nodes.get((parent_schema, parent))
        name = index.name if above is None else object_name(table, "embedding", suffix)
        nodes[schema, table] = _Node(sql.Identifier(schema, table), schema, name, is_leaf, above)
    return list(nodes.values())


def _look(connection: Connection, node: _Node) -> None:
    """See whether a part for this partition is attached to the index above it."""
    if node.parent is None:
        return
    names = (node.parent.index.as_string(), node.table.as_string())
    found = connection.execute(_PART, names).fetchone()
    if found is not None:
        node.schema, node.name = found
        node.is_attached = True


def _build_leaf(connection: Connection, node: _Node, index: Index) -> bool:
    """Build the index of a leaf; False: somebody else is building it."""
    names = (node.index.as_string(), node.table.as_string())
    if connection.execute(_IS_VALID, names).fetchone() == (False,):
        if is_building(connection, node.table):
            return False
        drop_index(connection, node.index.as_string(), CANCELLED)
    connection.execute(_create(node, index, "CONCURRENTLY", ""))
    if is_taken(connection, node.index, node.table, index):
        raise taken_name(node.index)
    return connection.execute(_IS_VALID, names).fetchone() == (True,)


def _put_together(connection: Connection, node: _Node, children: list[_Node], index: Index) -> None:
    if not node.is_attached:
        briefly(connection, partial(connection.execute, _create(node, index, "", "ONLY")))
        if is_taken(connection, node.index, node.table, index):
            raise taken_name(node.index)
    for child in children:
        ours = child.index
        _look(connection, child)
        if not child.is_attached:
            attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {}").format(node.index, ours)
            briefly(connection, partial(connection.execute, attach))
        elif child.is_leaf and child.index != ours:
            drop_index(connection, ours.as_string(), SPARE)


def _create(node: _Node, index: Index, how: str, only: str) -> sql.Composed:
    return sql.SQL("CREATE INDEX {} IF NOT EXISTS {} ON {} {} USING {}").format(
        sql.SQL(how),
        sql.Identifier(node.name),
        sql.SQL(only),
        node.table,
        index.definition,
    )
