"""Run a search on a psycopg connection."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration
from gte_pg.search.parameters import Parameters
from gte_pg.search.plain_tables import plain_table
from gte_pg.search.query import MOST_INDEXED_ROWS, QueryVectors, Weights, check_limit
from gte_pg.search.statement import search_statement, statement_text, with_json_key
from gte_pg.search.tables import Tables


@dataclass(frozen=True, slots=True)
class Hit:
    """A found row: its key by column, its score, and the two unweighted parts of the score.

    `complete` is the same for all rows of an answer: no row that was not looked at scores above its
    last, given that the dense index did bring the nearest rows (bound.py). With `exact` it is a fact.
    """

    key: dict[str, Any]
    score: float
    dense: float
    sparse: float
    complete: bool


_CALL = sql.SQL("""\
SELECT * FROM gte.search(
    {table}, dense => {dense}, sparse => {sparse}, k => {k},
    dense_weight => {dense_weight}, sparse_weight => {sparse_weight},
    embedding => {embedding}, exact => {exact},
    generation => {generation}
);""")


def gte_search_call(
    declaration: Declaration, query: QueryVectors, limit: int, weights: Weights, *, exact: bool
) -> str:
    """Return the same search as a statement that any SQL client can run."""
    values = {
        "table": declaration.relation.as_string(),
        "dense": query.dense,
        "sparse": query.sparse or None,
        "k": check_limit(limit),
        "dense_weight": float(weights.dense),
        "sparse_weight": float(weights.sparse),
        "embedding": declaration.name,
        "exact": exact,
        "generation": declaration.generation,
    }
    literals = {name: sql.Literal(value) for name, value in values.items()}
    return _CALL.format(**literals).as_string()


def search(
    connection: Connection,
    registered: Registered,
    query: QueryVectors,
    *,
    limit: int = 10,
    weights: Weights | None = None,
    exact: bool = False,
) -> list[Hit]:
    """Return the best rows for a query, best first; ties in the order of the key.

    Without `exact` the candidates come from the indexes; with it, and beyond 1,000 rows, every row
    is scored. Rows without a vector (pending, or without text) are not found.
    """
    weights = weights or Weights()
    declaration = registered.declaration
    rows = connection.execute(
        _statement(declaration, exact or limit > MOST_INDEXED_ROWS),
        {
            "dense": query.dense,
            "sparse": query.sparse,
            "k": check_limit(limit),
            "dense_weight": float(weights.dense),
            "sparse_weight": float(weights.sparse),
        },
    ).fetchall()
    # jsonb puts keys in an order of its own.
    names = [column.name for column in declaration.key]
    return [Hit({name: key[name] for name in names}, *parts) for key, *parts in rows]


@functools.lru_cache(maxsize=256)
def _statement(declaration: Declaration, exact: bool) -> bytes:
    """Return the text of the statement, which takes longer to write than most queries to run."""
    found = search_statement(
        Tables.of(declaration, plain_table(declaration)),
        Parameters.looked_up(declaration),
        exact=exact,
    )
    return statement_text(with_json_key(declaration, found)).encode()
