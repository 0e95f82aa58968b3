"""Which keys of the token index a query looks up, and what the others could still bring.

A key is a token and an impact bucket: the rows in which the token weighs between two edges. A row
gains at most w_q(t) · (upper edge) from it, so keys are taken by that bound, the largest first: a
common token is looked up only in the buckets where its weight is high. After the first n keys no
unseen row can have a sparse part above

    remaining(n) = Σ over the query's tokens of w_q(t) · (largest edge of t not yet looked up)

The last bucket has no upper edge: its bound is infinite and it always comes first.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from gte_pg.search.legs import materialized
from gte_pg.search.parameters import Parameters, number

_BUCKETS = 16


def ranked_keys(query: sa.CTE, parameters: Parameters, step: float) -> sa.CTE:
    """Return the query's keys: `key`, `rows` and `remaining`.

    `rows` is how many rows are under the keys up to this one, an estimate: it steers cost, never what is
    found. `remaining` is as it stands before the key is taken. There are no keys where the sparse part
    has no weight.
    """
    token = sa.func.gte.sparse_entries(query.c.sparse).table_valued(
        sa.column("token", sa.Integer), sa.column("weight", sa.Double), name="entry"
    )
    bucket = (
        sa.func.generate_series(number(0), number(_BUCKETS - 1))
        .table_valued(sa.column("number", sa.Integer))
        .render_derived(name="bucket")
    )
    last = bucket.c.number == number(_BUCKETS - 1)
    width = token.c.weight * sa.literal_column(f"{step!r}::float8", sa.Double)
    possible = (
        sa.select(
            (token.c.token * number(_BUCKETS) + bucket.c.number).label("key"),
            sa.case((last, _INFINITY), else_=width * (bucket.c.number + number(1))).label("bound"),
            sa.case((last, number(0)), else_=width).label("gain"),
        )
        .select_from(query.join(token, sa.true()).join(bucket, sa.true()))
        .where(parameters.sparse_weight > number(0))
        .subquery("possible_keys")
    )
    names = ("embedding", "key", "rows")
    frequency = sa.table("visible_key_frequency", *map(sa.column, names), schema="gte")
    rows = (
        sa.select(frequency.c.rows)
        .where(frequency.c.embedding == parameters.embedding, frequency.c.key == possible.c.key)
        .scalar_subquery()
    )
    counted = sa.select(possible, sa.func.coalesce(rows, number(1)).label("rows")).subquery(
        "counted"
    )
    order = [counted.c.bound.desc(), counted.c.key]
    gained = sa.func.sum(counted.c.gain).over(order_by=order) - counted.c.gain
    ranked = sa.select(
        counted.c.key,
        sa.func.sum(counted.c.rows).over(order_by=order).label("rows"),
        sa.case(
            (counted.c.bound == _INFINITY, _INFINITY),
            else_=sa.func.sum(counted.c.gain).over() - gained,
        ).label("remaining"),
    )
    return materialized(ranked, "ranked_keys")


def rows_under_keys(parameters: Parameters, keys: sa.Select[Any], name: str) -> sa.CTE:
    """One row: `tids`, the ids of the rows under these keys, NULL if they are not to be had; `parts`."""
    chosen = keys.subquery("chosen")
    empty = sa.literal_column("'{}'::int[]", sa.ARRAY(sa.Integer))
    all_keys = sa.select(sa.func.coalesce(sa.func.array_agg(chosen.c.key), empty)).scalar_subquery()
    rows = sa.func.gte.rows_under_keys(parameters.embedding, all_keys).table_valued(
        sa.column("tids"), sa.column("parts"), name="found"
    )
    return materialized(sa.select(rows.c.tids, rows.c.parts), name)


_INFINITY = sa.literal_column("'Infinity'::float8", sa.Double)
