"""Articles to search, and what the reference formula says of them."""

from __future__ import annotations

import numpy as np

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration
from gte_pg.search import QueryVectors, Weights
from gte_pg.search.query import parse_sparse
from tests.tables import ARTICLES

ROWS = 3_000

WEIGHTS = [Weights(), Weights(1, 0.3), Weights(1, 1), Weights(0.2, 5), Weights(0, 1), Weights(1, 0)]

# Texts that share words in every proportion.
_FILL = """
SELECT setseed(0.5);
INSERT INTO articles (id, title)
SELECT n, (
    SELECT string_agg(word, ' ')
    FROM (
        SELECT (ARRAY['the', 'cat', 'sat', 'on', 'a', 'mat', 'row', 'column', 'keeps', 'order',
                      'database', 'lines', 'données', '数据库', 'un', 'кот'])[1 + floor(16 * random())]
        FROM generate_series(1, 3 + n % 9)
    ) AS words (word)
)
FROM generate_series(1, {rows}) AS n
"""

QUERIES = ["a cat on the mat", "database", "数据库 rows", "кот", "un order of columns", "zzz"]


def fill(connection: Connection, rows: int = ROWS) -> None:
    connection.execute(ARTICLES)
    connection.execute(_FILL.format(rows=rows).encode())


# The dense vector of each row that has one, and its token weights.
Stored = dict[int, tuple[np.ndarray, dict[int, float]]]

# Score, dense and sparse part of each row.
Scores = dict[int, tuple[float, float, float]]


def stored(connection: Connection, declaration: Declaration) -> Stored:
    vectors = declaration.vectors.as_string()
    found = connection.execute(
        f"SELECT id, embedding::vector::real[], embedding_sparse::text FROM {vectors}".encode()
    ).fetchall()
    return {
        key: (np.array(dense, np.float64), parse_sparse(sparse or ""))
        for key, dense, sparse in found
        if dense is not None
    }


def reference(rows: Stored, query: QueryVectors, weights: Weights) -> Scores:
    """Return score, dense and sparse part of every row by the reference formula."""
    dense_query = np.array(eval(query.dense))
    sparse_query = parse_sparse(query.sparse)
    scores = {}
    for key, (dense, sparse) in rows.items():
        dense_part = float(dense @ dense_query)
        sparse_part = sum(w * sparse.get(token, 0.0) for token, w in sparse_query.items())
        scores[key] = (
            weights.dense * dense_part + weights.sparse * sparse_part,
            dense_part,
            sparse_part,
        )
    return scores


def plan_of(
    connection: Connection, registered: Registered, query: QueryVectors, weights: Weights
) -> list[str]:
    """Return the lines of the plan by which the stored statement found the best ten rows."""
    (statement,) = connection.execute(
        "SELECT search_statement FROM gte.embedding WHERE id = %s", (registered.id,)
    ).fetchone() or ("",)
    tables = {
        "vectors": registered.declaration.vectors,
        "relation": registered.declaration.relation,
    }
    for name, table in tables.items():
        statement = statement.replace(f'"{{{name}}}"', table.as_string())
    connection.execute(f"PREPARE s (text, text, int, float8, float8, int) AS {statement}".encode())
    try:
        rows = connection.execute(
            f"EXPLAIN (ANALYZE) EXECUTE s ('{query.dense}', '{query.sparse}', 10, "
            f"{weights.dense}, {weights.sparse}, {registered.id})".encode()
        ).fetchall()
    finally:
        connection.execute("DEALLOCATE s")
    return [line for (line,) in rows]


def executed(plan: list[str], node: str) -> list[bool]:
    """Whether each node that starts like this was executed."""
    return ["never executed" not in line for line in plan if f"{node} " in f"{line} "]
