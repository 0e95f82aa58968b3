"""The vectors of a row that is stored, as what a search is asked with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gte_pg.declaration import Declaration
from gte_pg.search.plain_tables import plain_vectors
from gte_pg.search.tables import Tables


def stored_vectors(
    declaration: Declaration, key: Sequence[sa.ColumnElement[Any]]
) -> dict[str, sa.ColumnElement[Any]]:
    """Return the dense and the sparse vector of the row with this key, in pgvector's text form.

    NULL where there is no such row or no vector.
    """
    vectors = plain_vectors(declaration)
    tables = Tables(declaration, vectors, vectors)
    same_row = [
        tables.column(column.name) == value
        for column, value in zip(declaration.key, key, strict=True)
    ]

    def text(column: str) -> sa.ColumnElement[Any]:
        stored = sa.cast(tables.column(column), sa.Text)
        return sa.select(stored).where(*same_row).scalar_subquery()

    return {
        "dense": text(declaration.dense_column),
        "sparse": text(declaration.sparse_column) if declaration.has_sparse else sa.null(),
    }
