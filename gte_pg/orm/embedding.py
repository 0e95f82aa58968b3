"""`Embedding`: what a user writes into a `Table(...)` or a mapped class.

It adds the columns, and when the table is created or dropped, what belongs to them in the database.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.schema import SchemaItem

from gte_pg.database import (
    check_companion_is_free,
    check_source_text,
    in_current_schema,
    plain_connection,
    postgres_version,
    run,
)
from gte_pg.declaration import (
    Declaration,
    KeyColumn,
    Layout,
    OnChange,
    Storage,
    named_columns,
    renamed,
)
from gte_pg.errors import DeclarationError
from gte_pg.install import attach_statements, detach_statements, prepare_database, standbys_of
from gte_pg.models import Precision, identify
from gte_pg.search import named_column

# The key of a table's embeddings in its `info`.
INFO_KEY = "gte_pg"


class Embedding(SchemaItem):
    """An embedding of the text of `source` columns, in a column called `name`.

    In a mapped class the name is the attribute's; in a `Table(...)` it stands after the columns that it
    names. Several columns are joined by a newline, or there is one of these instead of them:

        template      the text line by line, with the columns in braces: "{title} by {author}". A line whose
                      columns are all empty is left out.
        expression    an immutable SQL expression: "{title} || ' ' || {year}::text"

    `encode="flush"`, the default, encodes what the ORM writes before it is written; `"deferred"` leaves
    everything to `gte-pg sync`, as do `expression`, and `layout="companion"`, where the vectors are in a
    table of their own. Raises DeclarationError for what can be known to be wrong, ModelError for an
    unknown model.

        >>> notes = sa.Table(
        ...     "notes",
        ...     sa.MetaData(),
        ...     sa.Column("id", sa.Integer, primary_key=True),
        ...     sa.Column("text", sa.Text),
        ...     Embedding("text", name="embedding", model="all-MiniLM-L6-v2"),
        ... )
        >>> notes.columns.keys()
        ['id', 'text', 'embedding', 'embedding_sparse', 'embedding_hash', 'embedding_pending']
    """

    __visit_name__ = "gte_pg_embedding"

    def __init__(
        self,
        *source: str,
        model: str,
        name: str = "embedding",
        dimensions: int | None = None,
        storage: Storage = "vector",
        precision: Precision = "float32",
        layout: Layout = "columns",
        on_change: OnChange = "clear",
        index_dimensions: int | None = None,
        encode: Literal["flush", "deferred"] | None = None,
        template: str | None = None,
        expression: str | None = None,
    ) -> None:
        if encode not in ("flush", "deferred", None):
            raise DeclarationError(f"encode is 'flush' or 'deferred', not {encode!r}")
        if layout == "companion" and encode == "flush":
            raise DeclarationError(
                "layout='companion' keeps the vectors out of the flush: encode='deferred', and "
                "gte-pg sync encodes them"
            )
        if expression is not None and encode == "flush":
            raise DeclarationError(
                "only the database knows the value of expression=…: encode='deferred', and gte-pg sync "
                "encodes it"
            )
        self.source = source or named_columns(template, expression)
        self.template = template
        self.expression = expression
        self.model = identify(model, precision=precision)
        self.name = name
        self.dimensions = dimensions
        self.storage = storage
        self.layout = layout
        self.on_change = on_change
        self.index_dimensions = index_dimensions
        in_flush = layout == "columns" and expression is None
        self.encode = encode or ("flush" if in_flush else "deferred")

    if TYPE_CHECKING:
        # In a mapped class the attribute becomes the vector's column.
        @overload
        def __get__(
            self, instance: None, owner: type
        ) -> InstrumentedAttribute[list[float] | None]: ...

        @overload
        def __get__(self, instance: object, owner: type) -> list[float] | None: ...

        def __get__(self, instance: object, owner: type) -> object: ...

    def named(self, name: str) -> Embedding:
        """Return a copy of this embedding under another name."""
        other = copy(self)
        other.name = name
        return other

    def rename_columns(self, rename: Callable[[str], str]) -> None:
        """Replace the names of the source columns, wherever they stand."""
        self.source = tuple(map(rename, self.source))
        self.template = self.template and renamed(self.template, rename)
        self.expression = self.expression and renamed(self.expression, rename)

    def declaration(self, table: sa.Table) -> Declaration:
        """Return the declaration of this embedding on `table`."""
        return self._declaration(table, table.schema)

    def _declaration(self, table: sa.Table, schema: str | None) -> Declaration:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        key = tuple(
            KeyColumn(column.name, column.type.compile(dialect)) for column in table.primary_key
        )
        return Declaration.of_model(
            self.model,
            schema=schema,
            table=table.name,
            key=key,
            source=self.source,
            template=self.template,
            expression=self.expression,
            name=self.name,
            dimensions=self.dimensions,
            storage=self.storage,
            layout=self.layout,
            on_change=self.on_change,
            index_dimensions=self.index_dimensions,
        )

    def columns(self) -> dict[str, sa.Column[Any]]:
        """Return new columns for this embedding on its table, by name."""
        if self.layout == "companion":
            return {}
        width = self.model.dimensions if self.dimensions is None else self.dimensions
        kinds: dict[str, Any] = {
            self.name: (HALFVEC if self.storage == "halfvec" else VECTOR)(width),
            f"{self.name}_sparse": SPARSEVEC(self.model.sparse_dimensions),
            f"{self.name}_hash": sa.LargeBinary(),
            f"{self.name}_pending": sa.DateTime(timezone=True),
        }
        if self.model.sparse_dimensions is None:
            del kinds[f"{self.name}_sparse"]
        columns = {name: sa.Column(name, kind, nullable=True) for name, kind in kinds.items()}
        columns[f"{self.name}_pending"].server_default = sa.DefaultClause(sa.func.now())
        return columns

    def _set_parent(self, parent: Any, **_: Any) -> None:
        """Attach to a table; SQLAlchemy calls this for every item of a `Table(...)`."""
        table = cast("sa.Table", parent)
        names = {column.name for column in table.columns}
        keys = {column.key: column.name for column in table.columns}
        self.rename_columns(lambda name: name if name in names else keys.get(name, name))
        for source in self.source:
            if source not in names:
                raise DeclarationError(
                    f"the embedding {self.name!r} of {table.name!r} names the column {source!r}, which "
                    f"the table does not have above it; it has {', '.join(sorted(names))}"
                )
        # SQLAlchemy copies `info` and the events below with `to_metadata()`.
        embeddings = table.info.setdefault(INFO_KEY, {})
        if self.name in embeddings:
            raise DeclarationError(f"{table.name!r} has two embeddings called {self.name!r}")
        self.declaration(table)
        for name, column in self.columns().items():
            if name not in names:
                table.append_column(column)
            if name == f"{self.name}_pending":
                # None is written, and not left to the default.
                pending = named_column(table, name)
                pending.type = pending.type.evaluates_none()
        embeddings[self.name] = self
        for event in (self._before_create, self._after_create, self._before_drop):
            sa.event.listen(table, event.__name__.lstrip("_"), event, propagate=True)

    def _found_by(self, connection: sa.Connection, table: sa.Table) -> Declaration:
        """Return the declaration in the schema that a connection's `schema_translate_map` says."""
        schema = connection.schema_for_object(table)
        return in_current_schema(connection, self._declaration(table, schema))

    def _before_create(self, _target: sa.Table, connection: sa.Connection, **_: Any) -> None:
        prepare_database(connection)

    def _after_create(self, target: sa.Table, connection: sa.Connection, **_: Any) -> None:
        declaration = self._found_by(connection, target)
        if declaration.companion is not None:
            check_companion_is_free(plain_connection(connection), declaration)
        check_source_text(connection, declaration)
        for statement in attach_statements(declaration, postgres=postgres_version(connection)):
            run(connection, statement)

    def _before_drop(self, target: sa.Table, connection: sa.Connection, **_: Any) -> None:
        if not sa.inspect(connection).has_table("embedding", schema="gte"):
            # No table of this database has an embedding.
            return
        declaration = self._found_by(connection, target)
        standing_by = standbys_of(plain_connection(connection), declaration)
        for one in (declaration, *(one.declaration for one in standing_by)):
            for statement in detach_statements(one):
                run(connection, statement)


def embeddings_of(table: sa.FromClause) -> dict[str, Embedding]:
    """Return the embeddings declared on a table, by name; empty where there are none.

    `table` is a `Table`, or a mapped class's `__table__`.

        >>> embeddings_of(Article.__table__)["embedding"].source
        ('title',)
    """
    if not isinstance(table, sa.Table):
        return {}
    return cast("dict[str, Embedding]", table.info.get(INFO_KEY, {}))
