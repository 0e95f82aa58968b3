"""The ways to search that are compared: what people use instead, and gte-pg's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import indexed_vector
from gte_pg.search import QueryVectors, Weights, search

# pgvector-python's examples/hybrid_search/rrf.py, and what LangChain's PGVectorStore does: the ranks of
# an HNSW search and of a full-text search, fused with k = 60. No score is computed.
_RANKS_FUSED = """
WITH semantic AS (
    SELECT id, rank() OVER (ORDER BY {held} <#> {asked}) AS rank
    FROM {vectors} ORDER BY {held} <#> {asked} LIMIT %(n)s
), keyword AS (
    SELECT id, rank() OVER (ORDER BY ts_rank_cd(to_tsvector('english', text), query) DESC) AS rank
    FROM articles, plainto_tsquery('english', %(text)s) AS query
    WHERE to_tsvector('english', text) @@ query
    ORDER BY ts_rank_cd(to_tsvector('english', text), query) DESC LIMIT %(n)s
)
SELECT coalesce(semantic.id, keyword.id) AS id,
       coalesce(1.0 / (60 + semantic.rank), 0.0) + coalesce(1.0 / (60 + keyword.rank), 0.0) AS score
FROM semantic FULL OUTER JOIN keyword ON semantic.id = keyword.id
ORDER BY score DESC LIMIT %(k)s
"""

# The candidates of two HNSW indexes, each scored by both parts.
_TWO_HNSW = """
WITH candidates AS MATERIALIZED (
    (SELECT id FROM {vectors} ORDER BY {held} <#> {asked} LIMIT %(n)s)
    UNION
    (SELECT id FROM {vectors} ORDER BY embedding_sparse <#> %(sparse)s::sparsevec LIMIT %(n)s)
)
SELECT id, - %(dense_weight)s * (embedding <#> %(dense)s::{storage})
           - %(sparse_weight)s * (embedding_sparse <#> %(sparse)s::sparsevec) AS score
FROM candidates JOIN {vectors} USING (id) ORDER BY score DESC, id LIMIT %(k)s
"""


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    vectors: QueryVectors


# Asked a query, weights and k, a way returns ids with scores, best first.
Way = Callable[[Query, Weights, int], list[tuple[int, float]]]


def ways(
    connection: Connection, registered: Registered, widths: Iterable[int] = (100, 400)
) -> dict[str, Way]:
    """Return every way, the exact one first; two HNSW indexes in each of these widths."""
    declaration = registered.declaration
    asked = sql.SQL(f"%(dense)s::{declaration.storage}")
    names = {
        "vectors": declaration.vectors.as_string(),
        "storage": declaration.storage,
        "held": indexed_vector(declaration, sql.Identifier("embedding")).as_string(),
        "asked": indexed_vector(declaration, asked).as_string(),
    }

    def own(*, exact: bool) -> Way:
        def ask(query: Query, weights: Weights, k: int) -> list[tuple[int, float]]:
            found = search(
                connection, registered, query.vectors, limit=k, weights=weights, exact=exact
            )
            return [(hit.key["id"], hit.score) for hit in found]

        return ask

    def stated(statement: str, n: Callable[[int], int]) -> Way:
        text = statement.format(**names).encode()

        def ask(query: Query, weights: Weights, k: int) -> list[tuple[int, float]]:
            values = {
                "text": query.text,
                "dense": query.vectors.dense,
                "sparse": query.vectors.sparse,
                "dense_weight": float(weights.dense),
                "sparse_weight": float(weights.sparse),
                "k": k,
                "n": n(k),
            }
            with connection.transaction():
                connection.execute(
                    "SELECT set_config('hnsw.ef_search', %s, true)", (str(max(40, n(k))),)
                )
                return [(key, float(score)) for key, score in connection.execute(text, values)]

        return ask

    return {
        "exact scan": own(exact=True),
        "ranks fused (HNSW, full text)": stated(_RANKS_FUSED, lambda k: max(20, k)),
        **{
            two_hnsw(width): stated(_TWO_HNSW, lambda k, width=width: max(width, k))  # type: ignore[misc]
            for width in widths
        },
        "gte-pg": own(exact=False),
    }


def two_hnsw(width: int) -> str:
    return f"two HNSW, {width} each"
