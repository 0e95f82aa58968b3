"""The search statement: candidates from two indexes, one exact score. Built here, run by the caller.

    dense leg     the nearest rows by inner product, from the HNSW index
    token leg     rows under the most promising keys of the token index
    goal          what the rows that nobody has seen could still score, against the k-th best so far
    further leg   rows under just as many more keys as it takes to settle that
    scan          every row, where the legs came back short or the table is small and it is not settled

    score         dense_weight · ⟨q, d⟩ + sparse_weight · Σ w_q(t) · w_d(t), both parts computed from
                  the stored vectors for every candidate of any leg

No unseen row can be among the best k if  dense_weight · d + sparse_weight · remaining ≤ τ , with d
the lowest dense part in the dense leg, `remaining` as in token_keys.py and τ the k-th best score:
the threshold algorithm of Fagin, Lotem and Naor (2001), given that the dense leg did bring the
nearest rows, which is as true as the HNSW index's own recall.

It is one statement, so all legs see one snapshot, and it is plain SQLAlchemy Core, so the ORM can
join it, psycopg can run its text and the database can keep it for `gte.search`. A leg that is not
needed costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg

from gte_pg.declaration import Declaration
from gte_pg.search.legs import Legs
from gte_pg.search.parameters import NAMES, Parameters, number, quoted, registry
from gte_pg.search.token_keys import ranked_keys

# The token leg takes keys until they hold so many rows, the further leg until these.
_FIRST_POSTINGS = 2_000
_MOST_POSTINGS = 20_000

# A table with fewer rows is scanned where the further leg would not settle it.
_SMALL_TABLE = 100_000

# In a stored statement this stands for the table, whatever its name is when it runs.
_RELATION = "{relation}"

_DIALECT = psycopg.dialect()  # type: ignore[no-untyped-call]

_INFINITY = sa.literal_column("'Infinity'::float8", sa.Double)


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
    legs = Legs(declaration, source, parameters, tuple(filters))
    query = legs.query()
    if exact:
        return _best(legs, [query], legs.scan(query).subquery("candidates"))
    dense_leg = legs.dense_leg(query)
    found: list[sa.CTE] = [dense_leg]
    ctes = [query, dense_leg]
    short = _came_back_short(legs, dense_leg)
    if declaration.has_sparse:
        keys = ranked_keys(query, parameters, declaration.impact_step)
        first = keys.c.rows_before < number(_FIRST_POSTINGS)
        token_leg = legs.token_leg(query, sa.select(keys.c.key).where(first), "token_leg")
        goal = _goal(legs, dense_leg, token_leg)
        unsettled = sa.select(keys.c.key).join_from(keys, goal, keys.c.remaining > goal.c.remaining)
        within = keys.c.rows_before < number(_MOST_POSTINGS)
        short = sa.or_(
            short, sa.and_(sa.exists(unsettled.where(~within)), _is_small(parameters.embedding))
        )
        further_leg = legs.token_leg(query, unsettled.where(~first, within, ~short), "further_leg")
        found += [token_leg, further_leg]
        ctes += [keys, token_leg, goal, further_leg]
    # A row that several legs found has the same values in each: UNION keeps it once.
    scan = legs.scan(query, short).subquery("scan")
    union = sa.union(*(sa.select(leg) for leg in [*found, scan]))
    return _best(legs, ctes, union.subquery("candidates"))


def _best(legs: Legs, ctes: Sequence[sa.CTE], found: sa.FromClause) -> sa.Select[Any]:
    score = legs.score(found.c.dense, found.c.sparse).label("score")
    keys = key_columns(legs.declaration, found)
    return (
        sa.select(*keys, score, found.c.dense, found.c.sparse)
        .order_by(score.desc(), *keys)
        .limit(legs.given.k)
        # Two searches in one statement keep their WITH lists apart.
        .add_cte(*ctes, nest_here=True)
    )


def _goal(legs: Legs, dense_leg: sa.CTE, token_leg: sa.CTE) -> sa.CTE:
    """One row: how low `remaining` must come for the k-th best score so far to be safe."""
    seen = sa.union(sa.select(dense_leg), sa.select(token_leg)).subquery("seen")
    score = legs.score(seen.c.dense, seen.c.sparse).label("score")
    kth = (
        sa.select(score)
        .order_by(score.desc())
        .offset(legs.given.k - number(1))
        .limit(number(1))
        .scalar_subquery()
    )
    frontier = sa.select(sa.func.coalesce(sa.func.min(dense_leg.c.dense), number(0)))
    # Without k rows there is no k-th best: all keys are needed.
    remaining = sa.func.coalesce(
        (kth - legs.given.dense_weight * frontier.scalar_subquery())
        / sa.func.nullif(legs.given.sparse_weight, number(0)),
        -_INFINITY,
    )
    return sa.select(remaining.label("remaining")).cte("goal").prefix_with("MATERIALIZED")


def _came_back_short(legs: Legs, dense_leg: sa.CTE) -> sa.ColumnElement[bool]:
    """Whether the dense leg has fewer rows than asked for: a filter, or pgvector's limits."""
    rows = sa.select(sa.func.count()).select_from(dense_leg).scalar_subquery()
    return sa.and_(legs.given.dense_weight > number(0), rows < legs.candidates())


def _is_small(embedding: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether the table has few rows, as far as the planner's statistics know."""
    declared = registry()
    relation = sa.table("pg_class", sa.column("oid"), sa.column("reltuples"), schema="pg_catalog")
    rows = (
        sa.select(relation.c.reltuples)
        .join(declared, declared.c.relation == relation.c.oid)
        .where(declared.c.id == embedding)
        .scalar_subquery()
    )
    return rows < number(_SMALL_TABLE)


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


def key_columns(declaration: Declaration, found: sa.FromClause) -> list[sa.ColumnElement[Any]]:
    """Return the columns of a search's result that hold the key, in the key's order."""
    return [found.c[f"key_{place}"] for place in range(len(declaration.key))]


def with_json_key(declaration: Declaration, statement: sa.Select[Any]) -> sa.Select[Any]:
    """Put the key columns of a search into one JSON object: `key`, `score`, `dense`, `sparse`."""
    found = statement.subquery("found")
    keys = key_columns(declaration, found)
    pairs = [
        item
        for column, key in zip(declaration.key, keys, strict=True)
        for item in (sa.literal_column(f"{quoted(column.name)}::text"), key)
    ]
    key = sa.func.jsonb_build_object(*pairs).label("key")
    order = [found.c.score.desc(), *keys]
    return sa.select(key, found.c.score, found.c.dense, found.c.sparse).order_by(*order)


def statement_text(statement: sa.Select[Any]) -> str:
    """Return the statement for psycopg, with `%(name)s` placeholders."""
    return str(statement.compile(dialect=_DIALECT))


def stored_statement(declaration: Declaration, *, exact: bool = False) -> str:
    """Return the statement that `gte.search` runs: `$1`… in the order of `Parameters`, key as jsonb.

    `"{relation}"` stands for the table, which may have been renamed by then.
    """
    source = _table(declaration, _RELATION)
    found = search_statement(declaration, source, Parameters.named(), exact=exact)
    numbered = {name: f"${place}" for place, name in enumerate(NAMES, start=1)}
    return statement_text(with_json_key(declaration, found)) % numbered
