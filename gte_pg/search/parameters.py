"""What a search statement is given: placeholders, or values that it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from gte_pg.declaration import Declaration
from gte_pg.search.plain_tables import plain_table
from gte_pg.search.quoted import quoted
from gte_pg.search.written_name import WrittenName

Parameter = sa.ColumnElement[Any]

_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "dense": sa.Text,
    "sparse": sa.Text,
    "k": sa.Integer,
    "dense_weight": sa.Double,
    "sparse_weight": sa.Double,
    "embedding": sa.Integer,
}

NAMES = tuple(_TYPES)


@dataclass(frozen=True, slots=True)
class Parameters:
    """Vectors in pgvector's text form ('' for no sparse vector), numbers, and the registry's id."""

    dense: Parameter
    sparse: Parameter
    k: Parameter
    dense_weight: Parameter
    sparse_weight: Parameter
    embedding: Parameter

    @classmethod
    def named(cls) -> Parameters:
        """Return placeholders whose values are given when the statement runs."""
        return cls(**{name: sa.bindparam(name, type_=kind()) for name, kind in _TYPES.items()})

    @classmethod
    def looked_up(cls, declaration: Declaration) -> Parameters:
        """Return the same, but for the id of the embedding: it is looked up when the statement runs."""
        return replace(cls.named(), embedding=_embedding_id(declaration))

    @classmethod
    def of(cls, declaration: Declaration, values: Mapping[str, object]) -> Parameters:
        """Return parameters that carry their values, so that two searches fit in one statement.

        A value may also be a column or a subquery that has it.
        The id of the embedding is looked up when the statement runs.
        """

        def given(name: str) -> Parameter:
            value, kind = values[name], _TYPES[name]
            if isinstance(value, sa.ColumnElement):
                return value
            return sa.bindparam(f"gte_{name}", value, type_=kind(), unique=True)

        parameters = {name: given(name) for name in _TYPES if name != "embedding"}
        return cls(**parameters, embedding=_embedding_id(declaration))


def number(value: int) -> sa.ColumnElement[int]:
    """Return a constant of the statement's own, as opposed to a value that is given to it."""
    return sa.literal_column(str(value), sa.Integer)


def registry() -> sa.TableClause:
    """The table gte.embedding, for use in a statement."""
    names = ("id", "relation", "vectors", "name")
    return sa.table("embedding", *map(sa.column, names), schema="gte")


def _embedding_id(declaration: Declaration) -> sa.ScalarSelect[Any]:
    embedding = registry()
    relation = sa.func.to_regclass(WrittenName(plain_table(declaration)))
    name: sa.ColumnElement[str] = sa.literal_column(quoted(declaration.name))
    return (
        sa.select(embedding.c.id)
        .where(embedding.c.relation == relation, embedding.c.name == name)
        .scalar_subquery()
    )
