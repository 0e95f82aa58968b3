"""The search statement: two legs of candidates, one exact score. Built here, run by the caller.

    dense leg    the nearest rows by inner product, from the HNSW index
    token leg    rows that share a weighty token with the query, from the GIN index on
                 (token, impact bucket)
    score        dense_weight · ⟨q, d⟩ + sparse_weight · Σ w_q(t) · w_d(t), both parts computed from
                 the stored vectors for every candidate of either leg

It is one statement, so both legs see one snapshot, and it is plain SQLAlchemy Core, so the ORM can
join it, psycopg can run its text and the database can keep it for `gte.search`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC, VECTOR
from sqlalchemy.dialects.postgresql import psycopg

from gte_pg.declaration import Declaration

# How many rows the dense leg brings at least. It is also hnsw.ef_search: at 200,000 rows 200 gave
# recall@10 ≥ 0.999 of the hybrid top-k together with a token leg of 5,000 postings.
DENSE_CANDIDATES = 200

# The token leg takes index keys, the most promising first, until they hold so many rows.
TOKEN_POSTINGS = 5_000

# pgvector's own upper limit of hnsw.ef_search; beyond it the iterative scan goes on.
_MOST_EF_SEARCH = 1_000

_BUCKETS = 16

_DIALECT = psycopg.dialect()  # type: ignore[no-untyped-call]

Parameter = sa.ColumnElement[Any]


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a search is given: vectors in pgvector's text form ('' for no sparse vector) and numbers."""

    dense: Parameter
    sparse: Parameter
    k: Parameter
    dense_weight: Parameter
    sparse_weight: Parameter
    embedding: Parameter

    @classmethod
    def named(cls) -> Parameters:
        """Return placeholders whose values are given when the statement runs."""
        return cls(
            **{name: sa.bindparam(name, type_=kind()) for name, kind in _PARAMETER_TYPES.items()}
        )

    @classmethod
    def of(cls, declaration: Declaration, values: Mapping[str, object]) -> Parameters:
        """Return parameters that carry their values, so that two searches fit in one statement.

        The id of the embedding is looked up when the statement runs.
        """
        given = {
            name: sa.bindparam(f"gte_{name}", values[name], type_=kind(), unique=True)
            for name, kind in _PARAMETER_TYPES.items()
            if name != "embedding"
        }
        return cls(**given, embedding=_identifier(declaration))


_PARAMETER_TYPES: dict[str, type[sa.types.TypeEngine[Any]]] = {
    "dense": sa.Text,
    "sparse": sa.Text,
    "k": sa.Integer,
    "dense_weight": sa.Double,
    "sparse_weight": sa.Double,
    "embedding": sa.Integer,
}

# In a stored statement this stands for the table, whatever its name is when it runs.
_RELATION = "{relation}"


def plain_table(declaration: Declaration) -> sa.TableClause:
    """Return the table of a declaration for use in a statement, every name quoted as it stands."""
    schema = sa.quoted_name(declaration.schema, quote=True) if declaration.schema else None
    return _table(declaration, declaration.table, schema)


def _table(declaration: Declaration, name: str, schema: str | None = None) -> sa.TableClause:
    columns = [*(column.name for column in declaration.key), *declaration.columns]
    return sa.table(
        sa.quoted_name(name, quote=True),
        *(sa.column(sa.quoted_name(column, quote=True)) for column in columns),
        schema=schema,
    )


def search_statement(
    declaration: Declaration,
    source: sa.FromClause,
    parameters: Parameters,
    *,
    filters: Sequence[sa.ColumnElement[bool]] = (),
    exact: bool = False,
) -> sa.Select[Any]:
    """Return the best k rows: `key_0`, `key_1`…, `score`, `dense` and `sparse` (both unweighted).

    `source` is the table as the filters refer to it; they are applied inside the legs, so that k rows
    are found when k match. Rows without a vector (pending, or without text) are never found. Ties
    are broken by the key. With `exact`, every row is scored and no index is used.
    """
    builder = _Builder(declaration, source, parameters, tuple(filters))
    return builder.exact() if exact else builder.hybrid()


def statement_text(statement: sa.Select[Any]) -> str:
    """Return the statement for psycopg, with `%(name)s` placeholders."""
    return str(statement.compile(dialect=_DIALECT))


def stored_statement(declaration: Declaration, *, exact: bool = False) -> str:
    """Return the statement that `gte.search` runs: `$1`… in the order of `Parameters`, key as jsonb.

    `"{relation}"` stands for the table, which may have been renamed by then.
    """
    source = _table(declaration, _RELATION)
    found = search_statement(declaration, source, Parameters.named(), exact=exact)
    numbered = {name: f"${place}" for place, name in enumerate(_PARAMETER_TYPES, start=1)}
    return statement_text(with_json_key(declaration, found)) % numbered


def with_json_key(declaration: Declaration, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Put the key columns of a search into one JSON object: `key`, `score`, `dense`, `sparse`."""
    found = statement.subquery("found")
    keys = key_columns(declaration, found)
    pairs = [
        item
        for column, key in zip(declaration.key, keys, strict=True)
        for item in (sa.literal_column(f"{_quoted(column.name)}::text"), key)
    ]
    order = [found.c.score.desc(), *keys]
    return sa.select(
        sa.func.jsonb_build_object(*pairs).label("key"),
        found.c.score,
        found.c.dense,
        found.c.sparse,
    ).order_by(*order)


def key_columns(declaration: Declaration, found: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Return the columns of a search's result that hold the key, in the key's order."""
    return [found.c[f"key_{place}"] for place in range(len(declaration.key))]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True, slots=True)
class _Builder:
    declaration: Declaration
    source: sa.FromClause
    given: Parameters
    filters: tuple[sa.ColumnElement[bool], ...]

    def hybrid(self) -> sa.Select[Any]:
        query = self._query()
        legs = [self._dense_leg(query)]
        if self.declaration.has_sparse:
            legs.append(self._token_leg(query))
        # A row that both legs found has the same values in both: UNION keeps it once.
        found = sa.union(*(sa.select(leg) for leg in legs)).subquery("candidates")
        score = self._score(found.c.dense, found.c.sparse).label("score")
        keys = key_columns(self.declaration, found)
        return (
            sa.select(*keys, score, found.c.dense, found.c.sparse)
            .order_by(score.desc(), *keys)
            .limit(self.given.k)
            # Two searches in one statement keep their WITH lists apart.
            .add_cte(query, *legs, nest_here=True)
        )

    def exact(self) -> sa.Select[Any]:
        query = self._query()
        dense, sparse = self._parts(query)
        score = self._score(dense, sparse).label("score")
        return (
            sa.select(*self._keys(), score, dense.label("dense"), sparse.label("sparse"))
            .where(self._column(self.declaration.dense_column).is_not(None), *self.filters)
            .order_by(score.desc(), *self._keys())
            .limit(self.given.k)
            .add_cte(query, nest_here=True)
        )

    def _query(self) -> sa.CTE:
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
        ef_search = sa.func.least(self._candidates(), _number(_MOST_EF_SEARCH))
        columns += [
            _set_local("hnsw.ef_search", sa.cast(ef_search, sa.Text)),
            _set_local("hnsw.iterative_scan", sa.literal_column("'relaxed_order'")),
        ]
        return sa.select(*columns).cte("query").prefix_with("MATERIALIZED")

    def _dense_leg(self, query: sa.CTE) -> sa.CTE:
        """The nearest rows: ascending order of the bare operator with a LIMIT is what HNSW serves."""
        dense, sparse = self._parts(query)
        column = self._column(self.declaration.dense_column)
        return (
            sa.select(*self._keys(), dense.label("dense"), sparse.label("sparse"))
            .where(column.is_not(None), self.given.dense_weight > _number(0), *self.filters)
            .order_by(_negative_inner_product(column, _scalar(query.c.dense)))
            .limit(self._candidates())
            .cte("dense_leg")
            .prefix_with("MATERIALIZED")
        )

    def _token_leg(self, query: sa.CTE) -> sa.CTE:
        """Rows under the chosen keys of the token index, scored exactly, the best k of them."""
        dense, sparse = self._parts(query)
        keys = sa.func.gte.sparse_keys(
            self._column(self.declaration.sparse_column), self._step(), type_=sa.ARRAY(sa.Integer)
        )
        chosen = _scalar(sa.func.array_agg(self._chosen_keys(query).c.key))
        return (
            sa.select(*self._keys(), dense.label("dense"), sparse.label("sparse"))
            .where(
                keys.bool_op("&&")(chosen),
                self._column(self.declaration.dense_column).is_not(None),
                *self.filters,
            )
            .order_by(self._score(dense, sparse).desc(), *self._keys())
            .limit(self.given.k)
            .cte("token_leg")
            .prefix_with("MATERIALIZED")
        )

    def _chosen_keys(self, query: sa.CTE) -> sa.FromClause:
        """The index keys of the query's tokens by what a row could gain at most, up to the budget.

        A common token is looked up only in the buckets where its weight is high: that bounds the
        cost. The last bucket has no upper edge and comes first. The frequencies steer cost only.
        """
        token = sa.func.gte.sparse_entries(query.c.sparse).table_valued(
            sa.column("token", sa.Integer), sa.column("weight", sa.Double), name="entry"
        )
        bucket = (
            sa.func.generate_series(_number(0), _number(_BUCKETS - 1))
            .table_valued(sa.column("number", sa.Integer))
            .render_derived(name="bucket")
        )
        edge = sa.case(
            (bucket.c.number == _number(_BUCKETS - 1), sa.literal_column("'Infinity'::float8")),
            else_=(bucket.c.number + _number(1)) * self._step(),
        )
        possible = (
            sa.select(
                (token.c.token * _number(_BUCKETS) + bucket.c.number).label("key"),
                (token.c.weight * edge).label("most"),
            )
            .select_from(query.join(token, sa.true()).join(bucket, sa.true()))
            .subquery("possible_keys")
        )
        frequency = sa.table(
            "key_frequency",
            sa.column("embedding"),
            sa.column("key"),
            sa.column("rows"),
            schema="gte",
        )
        rows = sa.func.coalesce(
            sa.select(frequency.c.rows)
            .where(frequency.c.embedding == self.given.embedding, frequency.c.key == possible.c.key)
            .scalar_subquery(),
            _number(1),
        )
        counted = sa.select(possible, rows.label("rows")).subquery("counted_keys")
        order = [counted.c.most.desc(), counted.c.key]
        before = sa.func.sum(counted.c.rows).over(order_by=order) - counted.c.rows
        ranked = sa.select(counted.c.key, before.label("rows_before")).subquery("ranked_keys")
        return (
            sa.select(ranked.c.key)
            .where(
                ranked.c.rows_before < _number(TOKEN_POSTINGS),
                self.given.sparse_weight > _number(0),
            )
            .subquery("chosen_keys")
        )

    def _parts(self, query: sa.CTE) -> tuple[sa.ColumnElement[float], sa.ColumnElement[float]]:
        dense = -_negative_inner_product(
            self._column(self.declaration.dense_column), _scalar(query.c.dense)
        )
        if not self.declaration.has_sparse:
            return sa.func.coalesce(dense, _ZERO), _ZERO
        sparse = -_negative_inner_product(
            self._column(self.declaration.sparse_column), _scalar(query.c.sparse)
        )
        return sa.func.coalesce(dense, _ZERO), sa.func.coalesce(sparse, _ZERO)

    def _score(
        self, dense: sa.ColumnElement[float], sparse: sa.ColumnElement[float]
    ) -> sa.ColumnElement[float]:
        return self.given.dense_weight * dense + self.given.sparse_weight * sparse

    def _candidates(self) -> sa.ColumnElement[int]:
        return sa.func.greatest(self.given.k, _number(DENSE_CANDIDATES))

    def _step(self) -> sa.ColumnElement[float]:
        return sa.literal_column(f"{self.declaration.impact_step!r}::real", sa.REAL)

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        return next(column for column in self.source.c if column.name == name)

    def _keys(self) -> list[sa.ColumnElement[Any]]:
        return [
            self._column(column.name).label(f"key_{place}")
            for place, column in enumerate(self.declaration.key)
        ]


def _identifier(declaration: Declaration) -> sa.ScalarSelect[Any]:
    embedding = sa.table(
        "embedding", sa.column("id"), sa.column("relation"), sa.column("name"), schema="gte"
    )
    relation = sa.func.to_regclass(sa.literal_column(_quoted(declaration.relation.as_string())))
    name: sa.ColumnElement[str] = sa.literal_column(_quoted(declaration.name))
    return (
        sa.select(embedding.c.id)
        .where(embedding.c.relation == relation, embedding.c.name == name)
        .scalar_subquery()
    )


_ZERO = sa.literal_column("0::float8", sa.Double)


def _number(value: int) -> sa.ColumnElement[int]:
    """A constant of the statement's own, as opposed to a value that is given to it."""
    return sa.literal_column(str(value), sa.Integer)


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
