"""`Declaration`: one embedding on one table, with everything resolved that SQL needs to know.

The ORM makes one from a mapped class, `gte-pg add` from the catalogue of the database, and the
registry stores it. Columns, triggers, indexes and statements all follow from this one value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

from psycopg import sql

from gte_pg.declaration.names import MAX_NAME_BYTES, object_name
from gte_pg.declaration.template import placeholders
from gte_pg.errors import DeclarationError, ModelError
from gte_pg.models import ModelIdentity, Precision

Storage = Literal["vector", "halfvec"]
Layout = Literal["columns", "companion"]
OnChange = Literal["clear", "keep"]

_LONGEST_SUFFIX = "_pending"

# As many as pgvector's HNSW takes in half precision.
_MOST_INDEXED_DIMENSIONS = 4_000

_OWNERS = {"gte": "gte-pg", "pg_catalog": "Postgres", "information_schema": "Postgres"}

_PLAIN_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of the table's key and its type as SQL spells it (`bigint`, `character(3)`)."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Declaration:
    """One embedding: the text of `source` columns, encoded by `model`, stored in column `name`.

    The columns are joined by a newline, or filled into the lines of `template`, or the text is the
    value of the SQL `expression`: both name the columns in braces, `{title}`.
    `generation` names everything that decides the vectors (model and its revision, precision,
    dimensions, truncation): vectors of two generations are never compared. `sparse_dimensions` is
    None for a model without token weights: the embedding then has no sparse column.
    `impact_step` is the width of an impact bucket of the token index. `companion` is the table beside
    the user's that holds the vectors, its schema first; None: they are on the row. `on_change` says
    what becomes of a vector whose text changes: "clear" takes it away at once, "keep" leaves it,
    marked as pending, until the new one is there. `index_dimensions` is how many leading dimensions of
    a vector the dense index holds; None: all, as far as pgvector can.
    """

    schema: str | None
    table: str
    key: tuple[KeyColumn, ...]
    source: tuple[str, ...]
    name: str
    model: str
    generation: str
    dimensions: int
    sparse_dimensions: int | None
    storage: Storage = "vector"
    impact_step: float = 0.25
    companion: tuple[str, ...] | None = None
    on_change: OnChange = "clear"
    template: str | None = None
    expression: str | None = None
    index_dimensions: int | None = None

    def __post_init__(self) -> None:
        if not self.source:
            raise DeclarationError(
                f"the embedding {self.name!r} of {self.table!r} has no source column: "
                "name at least one column whose text is to be encoded"
            )
        if len(set(self.source)) != len(self.source):
            raise DeclarationError(
                f"the embedding {self.name!r} of {self.table!r} names a source column twice: "
                f"{', '.join(self.source)}"
            )
        self._check_placeholders()
        if not self.key:
            raise DeclarationError(
                f"the table {self.table!r} has no primary key; gte-pg finds rows again by it: "
                f"ALTER TABLE … ADD PRIMARY KEY (…) first"
            )
        if not self.name or len((self.name + _LONGEST_SUFFIX).encode()) > MAX_NAME_BYTES:
            raise DeclarationError(
                f"the embedding name {self.name!r} must have 1 to "
                f"{MAX_NAME_BYTES - len(_LONGEST_SUFFIX)} bytes: its columns are named after it"
            )
        if len(self.table.encode()) > MAX_NAME_BYTES:
            raise DeclarationError(
                f"the table name {self.table!r} has {len(self.table.encode())} bytes: Postgres keeps "
                f"{MAX_NAME_BYTES}"
            )
        if self.storage not in ("vector", "halfvec"):
            raise DeclarationError(f"storage is 'vector' or 'halfvec', not {self.storage!r}")
        if self.on_change not in ("clear", "keep"):
            raise DeclarationError(f"on_change is 'clear' or 'keep', not {self.on_change!r}")
        most = min(self.dimensions, _MOST_INDEXED_DIMENSIONS)
        if self.index_dimensions is not None and not 1 <= self.index_dimensions <= most:
            raise DeclarationError(
                f"index_dimensions is {self.index_dimensions}: the dense index of the embedding "
                f"{self.name!r} can hold 1 to {most} of its {self.dimensions} dimensions"
            )
        overlap = {*self.source, *(column.name for column in self.key)} & set(self.columns)
        if overlap:
            raise DeclarationError(
                f"the embedding {self.name!r} of {self.table!r} would use the column "
                f"{overlap.pop()!r}, which is one of its sources or key columns: "
                "give the embedding another name"
            )

    def _check_placeholders(self) -> None:
        if None not in (self.template, self.expression):
            raise DeclarationError(
                f"the embedding {self.name!r} of {self.table!r} has a template and an expression: "
                "its text is the one or the other"
            )
        named = named_columns(self.template, self.expression)
        if named and set(named) != set(self.source):
            raise DeclarationError(
                f"the embedding {self.name!r} of {self.table!r} has the source columns "
                f"{', '.join(self.source)}, but its text is made of {', '.join(named)}: name the columns "
                "in the text alone"
            )

    @classmethod
    def of_model(
        cls,
        model: ModelIdentity,
        *,
        schema: str | None,
        table: str,
        key: tuple[KeyColumn, ...],
        source: tuple[str, ...] = (),
        template: str | None = None,
        expression: str | None = None,
        name: str,
        dimensions: int | None = None,
        storage: Storage = "vector",
        layout: Layout = "columns",
        on_change: OnChange = "clear",
        index_dimensions: int | None = None,
    ) -> Declaration:
        """Declare an embedding by `model`, with as many of its dimensions as asked for (default: all).

        Its text is made of `source` columns, or by a `template` or an `expression` that names them.
        """
        if schema in _OWNERS:
            raise DeclarationError(
                f"the table {table!r} is in the schema {schema!r}, which is {_OWNERS[schema]}'s own: put "
                "the embedding on a table of yours"
            )
        if layout not in ("columns", "companion"):
            raise DeclarationError(f"layout is 'columns' or 'companion', not {layout!r}")
        dimensions = model.dimensions if dimensions is None else dimensions
        low, high = model.elastic or (model.dimensions, model.dimensions)
        if not low <= dimensions <= high:
            allowed = (
                f"{low} to {high} dimensions" if low < high else f"{high} dimensions, no other"
            )
            raise DeclarationError(
                f"{model.name} cannot give vectors of {dimensions} dimensions: it was trained for "
                f"{allowed}"
            )
        return cls(
            schema=schema,
            table=table,
            key=key,
            source=source or named_columns(template, expression),
            template=template,
            expression=expression,
            name=name,
            model=model.name,
            generation=model.generation(dimensions),
            dimensions=dimensions,
            sparse_dimensions=model.sparse_dimensions,
            storage=storage,
            impact_step=model.impact_step,
            companion=companion_name(schema, table, name) if layout == "companion" else None,
            on_change=on_change,
            index_dimensions=index_dimensions,
        )

    def check_model(self, model: ModelIdentity) -> None:
        """Raise ModelError unless `model` is the one that this embedding's vectors come from."""
        present = model.generation(self.dimensions)
        if self.generation != present:
            raise ModelError(
                f"the embedding {self.name!r} of {self.table!r} holds vectors of "
                f"{self.generation!r}, but the model {self.model!r} now gives {present!r}: "
                "its files have changed. Put the old files back, or remove the embedding and add it "
                "with the new model"
            )

    @property
    def layout(self) -> Layout:
        return "columns" if self.companion is None else "companion"

    @property
    def precision(self) -> Precision:
        """The encoder's precision, which the generation names: `model@revision/precision/dimensions`."""
        return cast("Precision", self.generation.rsplit("/", 2)[1])

    @property
    def indexed_dimensions(self) -> int:
        """How many leading dimensions the dense index holds."""
        return self.index_dimensions or min(self.dimensions, _MOST_INDEXED_DIMENSIONS)

    @property
    def indexes_part(self) -> bool:
        """Whether the dense index holds a part of each vector."""
        return self.indexed_dimensions < self.dimensions

    @property
    def has_sparse(self) -> bool:
        return self.sparse_dimensions is not None

    @property
    def dense_column(self) -> str:
        return self.name

    @property
    def sparse_column(self) -> str:
        return f"{self.name}_sparse"

    @property
    def hash_column(self) -> str:
        return f"{self.name}_hash"

    @property
    def pending_column(self) -> str:
        return f"{self.name}_pending"

    @property
    def version_column(self) -> str:
        """In a companion: counts the changes of the row's text."""
        return f"{self.name}_version"

    @property
    def vector_columns(self) -> tuple[str, ...]:
        """The columns that are filled together: dense, sparse where there is one, hash."""
        sparse = (self.sparse_column,) if self.has_sparse else ()
        return (self.dense_column, *sparse, self.hash_column)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column of the embedding that its readers see, in its table or its companion."""
        return (*self.vector_columns, self.pending_column)

    @property
    def relation(self) -> sql.Identifier:
        """The table as SQL names it: quoted, with its schema where one is known."""
        return sql.Identifier(*filter(None, (self.schema, self.table)))

    @property
    def vectors(self) -> sql.Identifier:
        """The table that holds the vectors: the user's own, or the companion."""
        return self.relation if self.companion is None else sql.Identifier(*self.companion)

    def index_path(self, name: str) -> sql.Identifier:
        """One of its indexes as SQL names it: in the schema of its table."""
        return sql.Identifier(*filter(None, (self.schema, name)))

    @property
    def written(self) -> str:
        """The table as a person writes it: quoted only where it must be."""
        parts = filter(None, (self.schema, self.table))
        return ".".join(
            part if _PLAIN_NAME.fullmatch(part) else sql.Identifier(part).as_string()
            for part in parts
        )

    def object_name(self, what: str) -> str:
        """The name of an object that belongs to this embedding, at most 63 bytes."""
        return object_name(self.table, self.name, what)


def named_columns(template: str | None, expression: str | None) -> tuple[str, ...]:
    """Return the columns that a template or an expression names; none where there is neither."""
    written = template if template is not None else expression
    return () if written is None else placeholders(written)


def companion_name(schema: str | None, table: str, name: str) -> tuple[str, ...]:
    """Return the name of the companion table of an embedding, its schema first where one is known."""
    return (*filter(None, (schema,)), object_name(table, name))
