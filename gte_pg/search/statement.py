"""The search statement: candidates from two indexes, one exact score. Built here, run by the caller.

    dense leg     the nearest rows by inner product, from the HNSW index
    token leg     rows under the most promising keys of the token index
    goal          what the rows that nobody has seen could still score, against the k-th best so far
    further leg   rows under just as many more keys as it takes to settle that
    scan          every row that matches, where the legs cannot settle it

    score         dense_weight · ⟨q, d⟩ + sparse_weight · Σ w_q(t) · w_d(t), both parts computed from
                  the stored vectors for every candidate of any leg
    complete      whether no unseen row can score above the last of the best k (bound.py says of what
                  that is a proof)

It is one statement, so all legs see one snapshot, and it is plain SQLAlchemy Core, so the ORM can
join it, psycopg can run its text and the database can keep it for `gte.search`. A leg that is not
needed costs next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from gte_pg.declaration import Declaration
from gte_pg.search.bound import Bound, came_back_short
from gte_pg.search.legs import Legs, materialized, scalar
from gte_pg.search.parameters import NAMES, Parameters
from gte_pg.search.quoted import quoted
from gte_pg.search.tables import Tables
from gte_pg.search.token_keys import ranked_keys, rows_under_keys

_DIALECT = psycopg.dialect()  # type: ignore[no-untyped-call]


def search_statement(
    tables: Tables, parameters: Parameters, *, exact: bool = False
) -> sa.Select[Any]:
    """Return the best k rows: `key_0`…, `score`, `dense` and `sparse` (both unweighted), `complete`.

    Filters are applied inside the legs, so that k rows are found when k match. Rows without a vector
    (pending, or without text) are never found. Ties are broken by the key. With `exact`, every row is
    scored and no index is used.
    """
    legs = Legs(tables, parameters)
    query = legs.query()
    if exact:
        best = _best(legs, legs.scan(query).subquery("candidates"))
        return _answer(tables, best, sa.true(), [query, best])
    found = Candidates.of(legs, query)
    best = _best(legs, _union(*found.legs, legs.scan(query, scalar(found.goal.c.scan))))
    # By the dense vectors alone no row beyond the nearest can score higher.
    complete = found.bound.holds(found.goal, best) if found.bound else sa.true()
    return _answer(tables, best, complete, [query, *found.ctes, best])


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the two indexes bring: `rows`, one each, in the order dense leg, token leg, further leg.

    `legs` are the best of each, `goal` says whether they settle it, `bound` whether they did.
    """

    rows: tuple[sa.CTE, ...]
    legs: tuple[sa.CTE, ...]
    goal: sa.CTE
    bound: Bound | None
    ctes: tuple[sa.CTE, ...]

    @classmethod
    def of(cls, legs: Legs, query: sa.CTE) -> Candidates:
        dense_leg = legs.dense_leg(query)
        if not legs.declaration.has_sparse:
            goal = materialized(sa.select(came_back_short(legs, dense_leg).label("scan")), "goal")
            return cls((dense_leg,), (dense_leg,), goal, None, (dense_leg, goal))
        keys = ranked_keys(query, legs.given, legs.declaration.impact_step)
        bound = Bound(legs, dense_leg, keys)
        named = rows_under_keys(legs.given, bound.first_keys(), "named")
        token_rows = legs.rows_named(query, named, "token_rows")
        token_leg = legs.best_of(token_rows, "token_leg")
        so_far = bound.so_far(token_leg)
        goal = bound.goal(so_far, named, token_rows)
        further_named = rows_under_keys(legs.given, bound.further_keys(goal), "further_named")
        # A row that is not in the dense leg needs more than this of its tokens.
        promising = legs.sparse(query) > scalar(goal.c.remaining)
        further_rows = legs.rows_named(query, further_named, "further_rows", promising)
        further_leg = legs.best_of(further_rows, "further_leg")
        first = (dense_leg, keys, named, token_rows, token_leg, so_far, goal)
        return cls(
            rows=(dense_leg, token_rows, further_rows),
            legs=(dense_leg, token_leg, further_leg),
            goal=goal,
            bound=bound,
            ctes=(*first, further_named, further_rows, further_leg),
        )


def _union(*legs: sa.CTE | sa.Select[Any]) -> sa.FromClause:
    """All rows of the legs. One that several legs found has the same values in each: it is kept once."""
    sources = (leg if isinstance(leg, sa.CTE) else leg.subquery() for leg in legs)
    return sa.union(*(sa.select(source) for source in sources)).subquery("candidates")


def _best(legs: Legs, found: sa.FromClause) -> sa.CTE:
    score = legs.score(found.c.dense, found.c.sparse).label("score")
    keys = key_columns(legs.declaration, found)
    best = sa.select(*keys, score, found.c.dense, found.c.sparse)
    return materialized(best.order_by(score.desc(), *keys).limit(legs.given.k), "best")


def _answer(
    tables: Tables, best: sa.CTE, complete: sa.ColumnElement[bool], ctes: Sequence[sa.CTE]
) -> sa.Select[Any]:
    return (
        sa.select(*best.c, complete.label("complete"))
        .order_by(best.c.score.desc(), *key_columns(tables.declaration, best))
        # Two searches in one statement keep their WITH lists apart.
        .add_cte(*ctes, nest_here=True)
    )


def key_columns(declaration: Declaration, found: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Return the columns of a search's result that hold the key, in the key's order."""
    return [found.c[f"key_{place}"] for place in range(len(declaration.key))]


def with_json_key(declaration: Declaration, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Put the key columns of a search into one JSON object: `key`, then its other columns."""
    found = statement.subquery("found")
    keys = key_columns(declaration, found)
    pairs = [
        item
        for column, key in zip(declaration.key, keys, strict=True)
        for item in (sa.literal_column(f"{quoted(column.name)}::text"), key)
    ]
    key = sa.func.jsonb_build_object(*pairs).label("key")
    columns = [found.c[name] for name in ("score", "dense", "sparse", "complete")]
    return sa.select(key, *columns).order_by(found.c.score.desc(), *keys)


def statement_text(statement: sa.Select[Any]) -> str:
    """Return the statement for psycopg, with `%(name)s` placeholders."""
    return str(statement.compile(dialect=_DIALECT))


@functools.lru_cache(maxsize=256)
def stored_statement(declaration: Declaration, *, exact: bool = False) -> str:
    """Return the statement that `gte.search` runs: `$1`… in the order of `Parameters`, key as jsonb.

    `"{vectors}"` and `"{relation}"` stand for the tables, which may have been renamed by then. Kept, as it
    takes longer to write than to store: tables are made again and again in an application's tests.
    """
    found = search_statement(Tables.stored(declaration), Parameters.named(), exact=exact)
    numbered = {name: f"${place}" for place, name in enumerate(NAMES, start=1)}
    return statement_text(with_json_key(declaration, found)) % numbered
