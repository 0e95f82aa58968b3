"""Which tokens a query and a row have in common: what the sparse part of a score is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gte_pg.encoder import Encoder
from gte_pg.search.query import QueryVectors, parse_sparse


@dataclass(frozen=True, slots=True)
class SharedToken:
    """A token, its weight in the query and in the row, and their product: what it adds."""

    token: str
    in_query: float
    in_row: float
    product: float


def shared_tokens(encoder: Encoder, query: QueryVectors, row: str | None) -> dict[str, float]:
    """Return what each shared token adds to the (unweighted) sparse part, the most first."""
    return {token.token: token.product for token in weigh_shared(encoder, query, row)}


def weigh_shared(encoder: Encoder, query: QueryVectors, row: str | None) -> list[SharedToken]:
    """Return the shared tokens with both weights, the one that adds most first.

    `row` is the sparse vector of a row in pgvector's text form.
    """
    asked, kept = parse_sparse(query.sparse), parse_sparse(row or "")
    ranked = sorted(asked.keys() & kept.keys(), key=lambda index: -asked[index] * kept[index])
    decoded = encoder.token_weights(np.array(ranked, np.int32), np.zeros(len(ranked), np.float32))
    return [
        SharedToken(token, asked[index], kept[index], asked[index] * kept[index])
        for token, index in zip(decoded, ranked, strict=True)
    ]
