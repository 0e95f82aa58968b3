"""The legs of a search: the statements that bring candidates, each row with both parts of its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR

from gte_pg.declaration import Declaration
from gte_pg.search.parameters import Parameters, number

# The dense leg brings four times the rows asked for, within these bounds: a wider search of the HNSW
# graph misses less. The upper one is pgvector's own limit of hnsw.ef_search; beyond it the iterative
# scan goes on.
_FEWEST_CANDIDATES = 200
_MOST_EF_SEARCH = 1_000

_ZERO = sa.literal_column("0::float8", sa.Double)


@dataclass(frozen=True, slots=True)
class Legs:
    """Builds the legs over `source`, the table as `filters` refer to it.

    Each leg has the key columns as `key_0`…, `dense` and `sparse`.
    """

    declaration: Declaration
    source: sa.FromClause
    given: Parameters
    filters: tuple[sa.ColumnElement[bool], ...]

    def query(self) -> sa.CTE:
        """One row: the query's vectors. Reading them first sets how the HNSW index is searched.

        The settings end with the transaction: SET would leak through a pool.
        """
        kind = HALFVEC if self.declaration.storage == "halfvec" else VECTOR
        columns: list[sa.ColumnElement[Any]] = [
            sa.cast(self.given.dense, kind(self.declaration.dimensions)).label("dense"),
        ]
        if self.declaration.has_sparse:
            sparse = sa.func.nullif(self.given.sparse, sa.literal_column("''"))
            kept = SPARSEVEC(self.declaration.sparse_dimensions)
            columns.append(sa.cast(sparse, kept).label("sparse"))
        ef_search = sa.func.least(self.candidates(), number(_MOST_EF_SEARCH))
        columns += [
            _set_local("hnsw.ef_search", sa.cast(ef_search, sa.Text)),
            _set_local("hnsw.iterative_scan", sa.literal_column("'relaxed_order'")),
        ]
        return _materialized(sa.select(*columns), "query")

    def dense_leg(self, query: sa.CTE) -> sa.CTE:
        """The nearest rows: ascending order of the bare operator with a LIMIT is what HNSW serves."""
        column = self._column(self.declaration.dense_column)
        nearest = (
            self._candidates(query, self.given.dense_weight > number(0))
            .order_by(_negative_inner_product(column, _scalar(query.c.dense)))
            .limit(self.candidates())
        )
        return _materialized(nearest, "dense_leg")

    def token_leg(self, query: sa.CTE, keys: sa.Select[Any], name: str) -> sa.CTE:
        """The best k rows under these keys of the token index."""
        indexed = sa.func.gte.sparse_keys(
            self._column(self.declaration.sparse_column),
            sa.literal_column(f"{self.declaration.impact_step!r}::real", sa.REAL),
            type_=sa.ARRAY(sa.Integer),
        )
        chosen = keys.subquery("chosen_keys")
        found = self._candidates(
            query, indexed.bool_op("&&")(_scalar(sa.func.array_agg(chosen.c.key)))
        )
        return _materialized(self._best(found, query), name)

    def scan(self, query: sa.CTE, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """The best k of all rows, by a scan of the table or of an index that serves the filters.

        Without a dense weight a row that shares no token with the query is no answer.
        """
        _, sparse = self._parts(query)
        answers = sa.or_(self.given.dense_weight > number(0), sparse > number(0))
        return self._best(self._candidates(query, answers, *conditions), query)

    def candidates(self) -> sa.ColumnElement[int]:
        """How many rows the dense leg brings."""
        wide = sa.func.least(number(4) * self.given.k, number(_MOST_EF_SEARCH))
        return sa.func.greatest(self.given.k, wide, number(_FEWEST_CANDIDATES))

    def score(
        self, dense: sa.ColumnElement[float], sparse: sa.ColumnElement[float]
    ) -> sa.ColumnElement[float]:
        """The reference formula."""
        return self.given.dense_weight * dense + self.given.sparse_weight * sparse

    def _candidates(self, query: sa.CTE, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        dense, sparse = self._parts(query)
        has_vector = self._column(self.declaration.dense_column).is_not(None)
        return sa.select(*self._keys(), dense.label("dense"), sparse.label("sparse")).where(
            has_vector, *conditions, *self.filters
        )

    def _best(self, found: sa.Select[Any], query: sa.CTE) -> sa.Select[Any]:
        order = [self.score(*self._parts(query)).desc(), *self._keys()]
        return found.order_by(*order).limit(self.given.k)

    def _parts(self, query: sa.CTE) -> tuple[sa.ColumnElement[float], sa.ColumnElement[float]]:
        columns = [(self.declaration.dense_column, query.c.dense)]
        if self.declaration.has_sparse:
            columns.append((self.declaration.sparse_column, query.c.sparse))
        parts = [
            sa.func.coalesce(-_negative_inner_product(self._column(name), _scalar(asked)), _ZERO)
            for name, asked in columns
        ]
        return parts[0], parts[1] if self.declaration.has_sparse else _ZERO

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return next(column for column in self.source.c if column.name == name)

    def _keys(self) -> list[sa.ColumnElement[Any]]:
        return [
            self._column(column.name).label(f"key_{place}")
            for place, column in enumerate(self.declaration.key)
        ]


def _materialized(statement: sa.Select[Any], name: str) -> sa.CTE:
    return statement.cte(name).prefix_with("MATERIALIZED")


def _scalar(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    return sa.select(column).scalar_subquery()


def _negative_inner_product(
    column: sa.ColumnElement[Any], query: sa.ColumnElement[Any]
) -> sa.ColumnElement[float]:
    return column.op("<#>", return_type=sa.Double())(query)


def _set_local(name: str, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.set_config(
        sa.literal_column(f"'{name}'"), value, sa.literal_column("true")
    ).label(name.replace(".", "_"))
