"""The legs of a search: the statements that bring candidates, each row with both parts of its score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR

from gte_pg.declaration import Declaration, dense_operator
from gte_pg.search.parameters import Parameters, number
from gte_pg.search.quoted import quoted
from gte_pg.search.tables import Tables

# The dense leg brings four times the rows asked for, within these bounds: a wider search of the HNSW
# graph misses less. The upper one is pgvector's own limit of hnsw.ef_search; beyond it the iterative
# scan goes on. SET gte.candidates, for a session, a role or a database, replaces the lower one. An index
# of a part of the vectors is asked for twice as many, as it has another order.
FEWEST_CANDIDATES = 400
_MOST_EF_SEARCH = 1_000

_FEWEST = sa.literal_column(
    f"coalesce(nullif(current_setting('gte.candidates', true), ''), '{FEWEST_CANDIDATES}')::int",
    sa.Integer,
)

_ZERO = sa.literal_column("0::float8", sa.Double)


@dataclass(frozen=True, slots=True)
class Legs:
    """Builds the legs. Each has the key columns as `key_0`…, `dense` and `sparse`."""

    tables: Tables
    given: Parameters

    @property
    def declaration(self) -> Declaration:
        return self.tables.declaration

    def query(self) -> sa.CTE:
        """One row: the query's vectors. Reading them first sets how the HNSW index is searched.

        The settings end with the transaction: SET would leak through a pool.
        """
        kind = HALFVEC if self.declaration.storage == "halfvec" else VECTOR
        generation = sa.literal_column(quoted(self.tables.declaration.generation), sa.Text)
        dense = sa.cast(self.given.dense, kind(self.declaration.dimensions))
        columns: list[sa.ColumnElement[Any]] = [
            *self.tables.locked_first(),
            sa.func.gte.check_generation(self.given.embedding, generation).label("checked"),
            dense.label("dense"),
            self._indexed(dense).label("indexed"),
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
        return materialized(sa.select(*columns), "query")

    def dense_leg(self, query: sa.CTE) -> sa.CTE:
        """The nearest rows: ascending order of the bare operator with a LIMIT is what HNSW serves."""
        held = self._indexed(self.tables.column(self.declaration.dense_column))
        nearest = (
            self.rows(query)
            .where(self.given.dense_weight > number(0))
            .order_by(held.op(dense_operator(self.declaration))(scalar(query.c.indexed)))
            .limit(self.candidates())
        )
        return materialized(nearest, "dense_leg")

    def rows_named(
        self, query: sa.CTE, named: sa.CTE, name: str, *conditions: sa.ColumnElement[bool]
    ) -> sa.CTE:
        """The rows that the token index names, of those that the caller may see and the filters leave.

        They are read by their tuple ids: the ids come from the index whatever row-level policy stands
        before the table, and policies and filters hold for what is read.
        """
        tid, part = self.tables.system_column("ctid"), self.tables.system_column("tableoid")
        parts, tids = (sa.func.unnest(named.c[name]) for name in ("parts", "tids"))
        # The same id is another row in each partition.
        of_part = sa.or_(
            scalar(named.c.parts).is_(None), sa.tuple_(part, tid).in_(sa.select(parts, tids))
        )
        ids = sa.cast(scalar(named.c.tids), sa.ARRAY(_Tid))
        rows = self.rows(query).where(tid == sa.any_(ids), of_part, *conditions)
        return materialized(rows, name)

    def best_of(self, leg: sa.CTE, name: str) -> sa.CTE:
        """The best k rows of a leg."""
        score = self.score(leg.c.dense, leg.c.sparse)
        keys = [leg.c[f"key_{place}"] for place in range(len(self.declaration.key))]
        return materialized(sa.select(leg).order_by(score.desc(), *keys).limit(self.given.k), name)

    def scan(self, query: sa.CTE, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
        """The best k of all rows, by a scan of the table or of an index that serves the filters.

        Without a dense weight a row that shares no token with the query is no answer.
        """
        answers = sa.or_(self.given.dense_weight > number(0), self.sparse(query) > number(0))
        score = self.score(self.dense(query), self.sparse(query))
        return (
            self.rows(query)
            .where(answers, *conditions)
            .order_by(score.desc(), *self.tables.keys())
            .limit(self.given.k)
        )

    def candidates(self) -> sa.ColumnElement[int]:
        """How many rows the dense leg brings."""
        times = 2 if self.declaration.indexes_part else 1
        wide = sa.func.least(number(4 * times) * self.given.k, number(_MOST_EF_SEARCH))
        return sa.func.greatest(self.given.k, wide, number(times) * _FEWEST)

    def score(
        self, dense: sa.ColumnElement[float], sparse: sa.ColumnElement[float]
    ) -> sa.ColumnElement[float]:
        """The reference formula."""
        return self.given.dense_weight * dense + self.given.sparse_weight * sparse

    def dense(self, query: sa.CTE) -> sa.ColumnElement[float]:
        """The dense part of a row: the inner product of two vectors of length 1."""
        return self._part(self.declaration.dense_column, query.c.dense)

    def sparse(self, query: sa.CTE) -> sa.ColumnElement[float]:
        """The sparse part of a row: the sum over the tokens that it shares with the query."""
        if not self.declaration.has_sparse:
            return _ZERO
        return self._part(self.declaration.sparse_column, query.c.sparse)

    def _indexed(self, vector: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """What the dense index holds of a vector; the same as `indexed_vector` writes."""
        dimensions = self.declaration.indexed_dimensions
        if self.declaration.indexes_part:
            vector = sa.func.subvector(vector, number(1), number(dimensions))
        elif self.declaration.storage == "halfvec":
            return vector
        return sa.cast(vector, HALFVEC(dimensions))

    def _part(self, column: str, asked: sa.ColumnElement[Any]) -> sa.ColumnElement[float]:
        product = _negative_inner_product(self.tables.column(column), scalar(asked))
        return sa.func.coalesce(-product, _ZERO)

    def rows(self, query: sa.CTE) -> sa.Select[Any]:
        """Every row that has a vector and matches, with its parts."""
        has_vector = self.tables.column(self.declaration.dense_column).is_not(None)
        parts = self.dense(query).label("dense"), self.sparse(query).label("sparse")
        belong = self.tables.belong_to_a_row(self.given.embedding)
        return self.tables.select(*self.tables.keys(), *parts).where(has_vector, belong)


class _Tid(sa.types.UserDefinedType[str]):
    """Postgres' tuple id."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "tid"


def materialized(statement: sa.Select[Any], name: str) -> sa.CTE:
    """Name a part of the search, so that no table without a schema is taken for it: `goal`, `query`."""
    return statement.cte(f"gte_{name}").prefix_with("MATERIALIZED")


def scalar(column: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    return sa.select(column).scalar_subquery()


def _negative_inner_product(
    column: sa.ColumnElement[Any], query: sa.ColumnElement[Any]
) -> sa.ColumnElement[float]:
    return column.op("<#>", return_type=sa.Double())(query)


def _set_local(name: str, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.set_config(
        sa.literal_column(f"'{name}'"), value, sa.literal_column("true")
    ).label(name.replace(".", "_"))
