"""What the database says of a table: its name, its primary key, its columns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import psycopg
import sqlalchemy as sa

from gte_pg.database.connect import Connection
from gte_pg.declaration import (
    Declaration,
    KeyColumn,
    Layout,
    OnChange,
    Storage,
    named_columns,
)
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.models import ModelIdentity


@dataclass(frozen=True, slots=True)
class Table:
    oid: int
    schema: str
    name: str
    key: tuple[KeyColumn, ...]
    columns: tuple[str, ...]

    def declare(
        self,
        model: ModelIdentity,
        source: tuple[str, ...] = (),
        *,
        template: str | None = None,
        expression: str | None = None,
        name: str = "embedding",
        dimensions: int | None = None,
        storage: Storage = "vector",
        layout: Layout = "columns",
        on_change: OnChange = "clear",
        index_dimensions: int | None = None,
    ) -> Declaration:
        """Declare an embedding of this table; `source` may be written as `resolve_sources` takes it."""
        source = self.resolve_sources(source or named_columns(template, expression))
        return Declaration.of_model(
            model,
            schema=self.schema,
            table=self.name,
            key=self.key,
            source=source,
            template=template,
            expression=expression,
            name=name,
            dimensions=dimensions,
            storage=storage,
            layout=layout,
            on_change=on_change,
            index_dimensions=index_dimensions,
        )

    def resolve_sources(self, written: tuple[str, ...]) -> tuple[str, ...]:
        """Return the source columns from how a user wrote them: a plain name, or several with commas."""
        sources: list[str] = []
        for word in written:
            names = [word] if word in self.columns else [part.strip() for part in word.split(",")]
            sources.extend(names)
        for name in sources:
            if name not in self.columns:
                raise DeclarationError(
                    f"the table {self.name!r} has no column {name!r}; "
                    f"its columns are {', '.join(self.columns)}"
                )
        return tuple(sources)


_FIND_TABLE = """
SELECT c.oid::int8, n.nspname, c.relname, c.relkind
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%s)
"""

_COLUMNS = """
SELECT attname
FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""

_PRIMARY_KEY = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisprimary AND k.place <= i.indnkeyatts
ORDER BY k.place
"""


_BAD_NAMES = (
    psycopg.DataError,
    psycopg.errors.InvalidName,
    psycopg.errors.SyntaxError,
    psycopg.errors.FeatureNotSupported,  # another database's
)


def find_table(connection: Connection, written: str) -> Table:
    """Return the table that `written` names, as SQL would read it (quotes, schema, search path).

    Raises DatabaseError if there is none of that name, or this role may not look.
    """
    try:
        row = connection.execute(_FIND_TABLE, (written,)).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"this role may not look for {written}: {str(error).strip()}. "
            "Let it: GRANT USAGE ON SCHEMA … TO …"
        ) from error
    except _BAD_NAMES as error:
        raise DatabaseError(
            f"{written!r} is not a table name: {str(error).splitlines()[0]}. "
            'Write it as in SQL: articles, app.articles, "My Table"'
        ) from error
    if row is None:
        raise DatabaseError(
            f"there is no table {written} in this database"
            + (f'; if its name has capitals, write "{written}" in quotes' if written else "")
        )
    oid, schema, name, kind = row
    if kind not in ("r", "p"):
        raise DatabaseError(f"{written} is not a table: embeddings need a table to add columns to")
    columns = connection.execute(_COLUMNS, (oid,)).fetchall()
    key = connection.execute(_PRIMARY_KEY, (oid,)).fetchall()
    return Table(
        oid=int(str(oid)),
        schema=str(schema),
        name=str(name),
        key=tuple(KeyColumn(str(column), str(kind)) for column, kind in key),
        columns=tuple(str(column) for (column,) in columns),
    )


def in_current_schema(connection: sa.Connection, declaration: Declaration) -> Declaration:
    """Return the declaration with the schema in which a table without one is made and found."""
    if declaration.schema is not None:
        return declaration
    schema = str(connection.scalar(sa.select(sa.func.current_schema())))
    companion = declaration.companion and (schema, *declaration.companion)
    return replace(declaration, schema=schema, companion=companion)
