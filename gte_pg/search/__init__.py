"""Search: a query's vectors, the statement, and its answer."""

from __future__ import annotations

from gte_pg.search.parameters import Parameters
from gte_pg.search.query import (
    MOST_INDEXED_ROWS,
    QueryVectors,
    Weights,
    as_pgvector,
    check_limit,
    encode_query,
)
from gte_pg.search.search import Hit, gte_search_call, search
from gte_pg.search.shared_tokens import shared_tokens
from gte_pg.search.statement import (
    key_columns,
    search_statement,
    stored_statement,
)

__all__ = [
    "MOST_INDEXED_ROWS",
    "Hit",
    "Parameters",
    "QueryVectors",
    "Weights",
    "as_pgvector",
    "check_limit",
    "encode_query",
    "gte_search_call",
    "key_columns",
    "search",
    "search_statement",
    "shared_tokens",
    "stored_statement",
]
