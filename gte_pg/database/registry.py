"""The registry: which embeddings the tables of this database have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy.exc import ProgrammingError

from gte_pg.database.connect import Connection
from gte_pg.database.present_key import check_key
from gte_pg.database.table import find_table
from gte_pg.declaration import Declaration, KeyColumn, companion_name
from gte_pg.errors import DatabaseError


@dataclass(frozen=True, slots=True)
class Registered:
    """A declaration that stands in the registry, under its id there.

    One that is on `standby` waits to take the place of another, or has left it.
    """

    id: int
    declaration: Declaration
    standby: bool = False

    def __str__(self) -> str:
        """Return what messages call it: `public.articles (embedding)`."""
        return f"{self.declaration.written} ({self.declaration.name})"


def register(
    declaration: Declaration,
    *,
    search_statement: str,
    exact_statement: str,
    standby: bool = False,
    copying: bool = False,
) -> sql.Composed:
    """Return the statement that records a declaration and the statements that search it.

    With `copying` the keys of the table's rows are still to be copied to its companion.
    """
    values = _values(declaration) | {
        "search_statement": search_statement,
        "exact_statement": exact_statement,
        "standby": standby,
        "copying": copying,
    }
    return sql.SQL(
        "INSERT INTO gte.embedding (relation, vectors, {}) VALUES ({}::regclass, {}::regclass, {})"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.Literal(declaration.relation.as_string()),
        sql.Literal(declaration.vectors.as_string()),
        sql.SQL(", ").join(map(sql.Literal, values.values())),
    )


def change(declaration: Declaration) -> sql.Composed:
    """Return the statement that records what has become of a declaration of the same name."""
    return sql.SQL("UPDATE gte.embedding SET {} WHERE {}").format(
        sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in _values(declaration).items()
        ),
        registered_as(declaration),
    )


def _values(declaration: Declaration) -> dict[str, object]:
    return {
        "name": declaration.name,
        "source": list(declaration.source),
        "model": declaration.model,
        "generation": declaration.generation,
        "dimensions": declaration.dimensions,
        "sparse_dimensions": declaration.sparse_dimensions,
        "storage": declaration.storage,
        "impact_step": declaration.impact_step,
        "on_change": declaration.on_change,
        "template": declaration.template,
        "expression": declaration.expression,
        "index_dimensions": declaration.index_dimensions,
    }


def forget(declaration: Declaration) -> sql.Composed:
    """Return the statement that takes a declaration out of the registry, its leases with it."""
    return sql.SQL("DELETE FROM gte.embedding WHERE {}").format(registered_as(declaration))


def registered_as(declaration: Declaration) -> sql.Composed:
    """Return the condition that finds a declaration's row in the registry."""
    return sql.SQL("relation = to_regclass({}) AND name = {}").format(
        sql.Literal(declaration.relation.as_string()), sql.Literal(declaration.name)
    )


def is_still_declared(registered: Registered) -> sql.Composed:
    """Return the condition that this is what the registry says of an embedding: its text, its vectors."""
    declaration = registered.declaration
    return sql.SQL(
        "EXISTS (SELECT FROM gte.embedding AS e WHERE e.id = {} AND e.vectors = to_regclass({}) "
        "AND e.generation = {} AND e.source = {}::text[] AND e.template IS NOT DISTINCT FROM {} "
        "AND e.expression IS NOT DISTINCT FROM {})"
    ).format(
        sql.Literal(registered.id),
        sql.Literal(declaration.vectors.as_string()),
        sql.Literal(declaration.generation),
        sql.Literal(list(declaration.source)),
        sql.Literal(declaration.template),
        sql.Literal(declaration.expression),
    )


# In place of a key that is gone: to be removed, an embedding needs none.
_NO_KEY = (KeyColumn("ctid", "tid"),)

# All but the first two and the last two are named as in Declaration.
_FIELDS = (
    "id", "written", "name", "source", "model", "generation", "dimensions", "sparse_dimensions",
    "storage", "impact_step", "on_change", "template", "expression", "index_dimensions", "companion",
    "standby", "copying",
)  # fmt: skip

# A table that was dropped leaves its row behind: it no longer joins with pg_class. All columns are asked
# for, so that the schema of an older gte-pg is noticed here.
_LOAD = """
SELECT e.id, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
       e.name, e.source, e.model, e.generation, e.dimensions, e.sparse_dimensions,
       e.storage, e.impact_step::float8, e.on_change, e.template, e.expression,
       e.index_dimensions,
       CASE WHEN e.vectors <> e.relation THEN ARRAY[vn.nspname::text, v.relname::text] END,
       e.standby, e.copying
FROM gte.embedding e
JOIN pg_class c ON c.oid = e.relation JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class v ON v.oid = e.vectors LEFT JOIN pg_namespace vn ON vn.oid = v.relnamespace
WHERE %(table)s::oid IS NULL OR e.relation = %(table)s::oid
ORDER BY e.id
"""


def load_all(
    connection: Connection,
    table: str | None = None,
    *,
    broken: bool = False,
    problems: list[DatabaseError] | None = None,
) -> list[Registered]:
    """Return every embedding of the database, or those of `table` (written as in SQL).

    One whose source columns, key or companion are gone is a DatabaseError: raised, or added to `problems`,
    so that it holds up no other. With `broken` it is returned like any other, to be altered or removed.
    """
    oid = find_table(connection, table).oid if table is not None else None
    if connection.execute("SELECT to_regclass('gte.embedding')").fetchone() == (None,):
        return []
    try:
        rows = connection.execute(_LOAD, {"table": oid}).fetchall()
    except (psycopg.errors.UndefinedColumn, ProgrammingError) as error:
        raise DatabaseError(
            "the schema gte of this database was made by an older gte-pg: bring it up to date with "
            "gte-pg init"
        ) from error
    found = []
    for row in rows:
        try:
            fields = dict(zip(_FIELDS, row, strict=True))
            found.append(_registered(connection, fields, broken=broken))
        except DatabaseError as error:
            if problems is None:
                raise
            problems.append(error)
    return found


def load(
    connection: Connection, table: str, name: str | None = None, *, broken: bool = False
) -> Registered:
    """Return the embedding of `table` called `name`, or its only one; one on standby only by its name."""
    found = [
        one
        for one in load_all(connection, table, broken=broken)
        if name is not None or not one.standby
    ]
    names = [entry.declaration.name for entry in found]
    if not found:
        raise DatabaseError(
            f"the table {table} has no embedding; make one: gte-pg add {table} --source COLUMN"
        )
    if name is None and len(found) > 1:
        raise DatabaseError(
            f"the table {table} has {len(found)} embeddings ({', '.join(names)}): "
            "say which with --name"
        )
    for entry in found:
        if name in (None, entry.declaration.name):
            return entry
    raise DatabaseError(
        f"the table {table} has no embedding called {name!r}; it has {', '.join(names)}"
    )


def _registered(connection: Connection, row: dict[str, Any], *, broken: bool) -> Registered:
    identifier, written, standby = row.pop("id"), row.pop("written"), row.pop("standby")
    source, companion = tuple(row.pop("source")), row.pop("companion")
    del row["copying"]  # it may be over by the time that it matters
    table = find_table(connection, written)
    missing = [column for column in source if column not in table.columns]
    if missing and not broken:
        raise DatabaseError(
            f"the embedding {row['name']!r} of {written} is declared on the column {missing[0]!r}, "
            f"which is no longer there. Say what is encoded now: gte-pg alter {written} --name "
            f"{row['name']} --source COLUMN"
        )
    if companion == [None, None]:
        if not broken:
            raise DatabaseError(
                f"the companion table of the embedding {row['name']!r} of {written} has been dropped: "
                f"gte-pg remove {written} --name {row['name']}, and add it again"
            )
        companion = companion_name(table.schema, table.name, row["name"])
    declaration = Declaration(
        schema=table.schema,
        table=table.name,
        key=table.key or _NO_KEY,
        source=source,
        companion=tuple(companion) if companion else None,
        **row,
    )
    if not broken:
        check_key(connection, table, declaration)
    return Registered(identifier, declaration, standby)
