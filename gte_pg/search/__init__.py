"""Search: a query's vectors, the statement, and its answer."""

from __future__ import annotations

from gte_pg.search.explain import Explanation, explain
from gte_pg.search.parameters import Parameters
from gte_pg.search.query import (
    MOST_INDEXED_ROWS,
    QueryVectors,
    Weights,
    as_pgvector,
    check_limit,
    encode_query,
)
from gte_pg.search.recall import Recall, dense_recall, sample_questions
from gte_pg.search.search import Hit, gte_search_call, search
from gte_pg.search.shared_tokens import shared_tokens
from gte_pg.search.statement import key_columns, search_statement, stored_statement
from gte_pg.search.stored_row import stored_vectors
from gte_pg.search.tables import Tables, named_column

__all__ = [
    "MOST_INDEXED_ROWS",
    "Explanation",
    "Hit",
    "Parameters",
    "QueryVectors",
    "Recall",
    "Tables",
    "Weights",
    "as_pgvector",
    "check_limit",
    "dense_recall",
    "encode_query",
    "explain",
    "gte_search_call",
    "key_columns",
    "named_column",
    "sample_questions",
    "search",
    "search_statement",
    "shared_tokens",
    "stored_statement",
    "stored_vectors",
]
