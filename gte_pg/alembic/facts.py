"""What an operation says of an embedding: plain values, all that is needed, and no model.

A migration means the same next year, whatever the application's classes have become and wherever the
model's files are by then. So the model is not looked up again: its exact revision, how long its vectors
are and what its token weights look like are written down when the migration is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Required, TypedDict

from gte_pg.declaration import (
    Declaration,
    KeyColumn,
    Layout,
    OnChange,
    Storage,
    companion_name,
    named_columns,
)


class Facts(TypedDict, total=False):
    """What an embedding is; what is left out has its default, as in `Embedding(…)`.

    key                  the columns of the primary key
    source               the columns that are encoded; not with a template or an expression
    model, generation    the model as `gte-pg models` calls it, and which one exactly that was
    dimensions           of a vector
    sparse_dimensions    of its token weights: the size of the vocabulary; None without them
    impact_step          how finely the token index tells weights apart
    """

    key: Required[Sequence[str]]
    model: Required[str]
    generation: Required[str]
    dimensions: Required[int]
    sparse_dimensions: int | None
    source: Sequence[str]
    template: str | None
    expression: str | None
    storage: Storage
    layout: Layout
    on_change: OnChange
    impact_step: float
    index_dimensions: int | None


def declared(table: str, name: str, schema: str | None, facts: Facts) -> Declaration:
    """Return the declaration that an operation's arguments make."""
    given: dict[str, Any] = dict(facts)
    key, layout = given.pop("key"), given.pop("layout", "columns")
    named = named_columns(facts.get("template"), facts.get("expression"))
    return Declaration(
        schema=schema,
        table=table,
        name=name,
        # The types are asked of the table where they matter.
        key=tuple(KeyColumn(column, "text") for column in key),
        source=tuple(given.pop("source", ())) or named,
        companion=companion_name(schema, table, name) if layout == "companion" else None,
        **{"sparse_dimensions": None, **given},
    )


def named(table: str, name: str, schema: str | None, layout: Layout = "columns") -> Declaration:
    """Return a declaration that has the names of an embedding's objects right, and nothing else."""
    nothing = Facts(
        key=["-"],
        source=["-"],
        model="-",
        generation="-@-/float32/1",
        dimensions=1,
        sparse_dimensions=1,
        layout=layout,
    )
    return declared(table, name, schema, nothing)
