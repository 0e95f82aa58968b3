"""Why a row has the score that it has, and which index would have found it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, key_join, key_text
from gte_pg.encoder import Encoder
from gte_pg.errors import QueryError
from gte_pg.search.legs import Legs, materialized
from gte_pg.search.parameters import Parameters
from gte_pg.search.plain_tables import plain_table
from gte_pg.search.query import QueryVectors, Weights, check_limit
from gte_pg.search.shared_tokens import SharedToken, weigh_shared
from gte_pg.search.statement import Candidates, key_columns, statement_text
from gte_pg.search.tables import Tables

_ROW = sql.SQL("SELECT {key}, {dense} IS NULL, {sparse} FROM {vectors} AS d WHERE {same_key}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The score of one row for one query. `rank` counts from 1 among the `rows` that have a vector.

    `in_dense_leg` and `in_token_leg` say whether a search for the best k would have had the row from
    the dense index and from the token index.
    """

    key: str
    score: float
    dense: float
    sparse: float
    tokens: list[SharedToken]
    rank: int
    rows: int
    in_dense_leg: bool
    in_token_leg: bool


def explain(
    connection: Connection,
    registered: Registered,
    encoder: Encoder,
    query: QueryVectors,
    key: str,
    *,
    limit: int = 10,
    weights: Weights | None = None,
) -> Explanation:
    """Explain the score of the row `key`: its text, or a JSON array of texts for a composite key.

    Scores every row to tell the rank. Raises QueryError if there is no such row, or no vector of it.
    """
    weights = weights or Weights()
    declaration = registered.declaration
    found_key, row_sparse = _find(connection, declaration, key)
    values = {
        "dense": query.dense,
        "sparse": query.sparse,
        "k": check_limit(limit),
        "dense_weight": float(weights.dense),
        "sparse_weight": float(weights.sparse),
        "embedding": registered.id,
    }
    names = {f"key_{place}": value for place, value in enumerate(found_key)}
    text = statement_text(_statement(declaration, list(names)))
    row = connection.execute(text.encode(), values | names).fetchone()
    if row is None:
        raise QueryError(f"the row {key} of {declaration.written} was deleted meanwhile")
    score, dense, sparse, before, rows, *legs = row
    return Explanation(
        key=key,
        score=score,
        dense=dense,
        sparse=sparse,
        tokens=weigh_shared(encoder, query, row_sparse),
        rank=before + 1,
        rows=rows,
        in_dense_leg=legs[0],
        in_token_leg=any(legs[1:]),
    )


def _find(connection: Connection, declaration: Declaration, key: str) -> tuple[list[str], str]:
    """Return the texts of a row's key columns, as Postgres writes them, and its sparse vector."""
    if len(declaration.key) > 1 and not _is_composite(key, len(declaration.key)):
        columns = ", ".join(column.name for column in declaration.key)
        raise QueryError(
            f"the key {key!r} does not fit the primary key ({columns}) of {declaration.written}: "
            'write it as a JSON array of texts: \'["eu", "42"]\''
        )
    sparse = sql.SQL("{}::text").format(sql.Identifier("d", declaration.sparse_column))
    statement = _ROW.format(
        key=key_text(declaration, "d"),
        dense=sql.Identifier("d", declaration.dense_column),
        sparse=sparse if declaration.has_sparse else sql.SQL("NULL"),
        vectors=declaration.vectors,
        same_key=key_join(declaration, "d", sql.Literal(key)),
    )
    try:
        row = connection.execute(statement).fetchone()
    except psycopg.DataError as error:
        raise QueryError(f"{key!r} is no key of {declaration.written}: {error}") from error
    if row is None:
        raise QueryError(f"{declaration.written} has no row with the key {key}")
    if row[1]:
        raise QueryError(
            f"the row {key} of {declaration.written} has no vector: it is pending, or has no text; "
            "gte-pg sync encodes what is pending"
        )
    texts = json.loads(row[0]) if len(declaration.key) > 1 else [row[0]]
    return texts, row[2] or ""


def _is_composite(key: str, columns: int) -> bool:
    try:
        values = json.loads(key)
    except ValueError:
        return False
    return isinstance(values, list) and len(values) == columns


def _statement(declaration: Declaration, names: list[str]) -> sa.Select[Any]:
    """One row's score, its parts, how many rows come before it, of how many, and its legs."""
    legs = Legs(Tables.of(declaration, plain_table(declaration)), Parameters.named())
    query = legs.query()
    found = Candidates.of(legs, query)
    scored = legs.rows(query).subquery("scored")
    score = legs.score(scored.c.dense, scored.c.sparse).label("score")
    rows = materialized(sa.select(*scored.c, score), "all_rows")
    this = materialized(sa.select(*rows.c).where(_is(declaration, rows, names)), "this_row")
    same_score = sa.and_(
        rows.c.score == this.c.score,
        sa.tuple_(*key_columns(declaration, rows)) < sa.tuple_(*key_columns(declaration, this)),
    )
    before = sa.select(sa.func.count()).where(sa.or_(rows.c.score > this.c.score, same_score))
    return sa.select(
        *(this.c.score, this.c.dense, this.c.sparse),
        before.correlate(this).scalar_subquery(),
        sa.select(sa.func.count()).select_from(rows).scalar_subquery(),
        *(sa.exists().where(_is(declaration, leg, names)) for leg in found.rows),
    ).add_cte(query, *found.ctes, rows, this)


def _is(declaration: Declaration, rows: sa.CTE, names: list[str]) -> sa.ColumnElement[bool]:
    """Whether a row has the key whose texts are given under these names."""
    pairs = zip(key_columns(declaration, rows), names, strict=True)
    return sa.and_(
        *(sa.cast(column, sa.Text) == sa.bindparam(name, type_=sa.Text) for column, name in pairs)
    )
