"""The reference score of a query and a document.

    score = dense_weight · ⟨q, d⟩ + sparse_weight · Σ over shared tokens t of w_q(t) · w_d(t)

It is not divided by the sum of the weights. Source: `compute_scores()` in the GTE team's
`scripts/gte_embedding.py`, with its defaults.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gte_pg.encoder.encoder import Encoder
from gte_pg.encoder.token_weights import Row
from gte_pg.errors import QueryError

__all__ = ["Score", "score", "score_pairs"]


@dataclass(frozen=True, slots=True)
class Score:
    """The score and its two parts, before they are weighted.

    `dense` is a cosine, from -1 to 1; `sparse`, of the shared tokens, is 0 or more.

        >>> found = score(encoder, "capital of China", "Beijing is the capital", sparse_weight=0.5)
        >>> round(found.score - (found.dense + 0.5 * found.sparse), 9)
        0.0
    """

    score: float
    dense: float
    sparse: float


def score(
    encoder: Encoder,
    query: str,
    document: str,
    *,
    dense_weight: float = 1.0,
    sparse_weight: float = 0.1,
    dimensions: int | None = None,
    max_length: int = 1024,
) -> Score:
    """Score one document for one query. Without a token-weight head the sparse part is 0.

    Blocks while both are encoded. `max_length` is in tokens, and what is longer is cut off.

        >>> right = score(encoder, "capital of China", "Beijing is the capital")
        >>> right.score > score(encoder, "capital of China", "Beans are boiled").score
        True
    """
    (only,) = score_pairs(
        encoder,
        [(query, document)],
        dense_weight=dense_weight,
        sparse_weight=sparse_weight,
        dimensions=dimensions,
        max_length=max_length,
    )
    return only


def score_pairs(
    encoder: Encoder,
    pairs: Sequence[tuple[str, str]],
    *,
    dense_weight: float = 1.0,
    sparse_weight: float = 0.1,
    dimensions: int | None = None,
    max_length: int = 1024,
) -> list[Score]:
    """Score (query, document) pairs, each as `score` does. An error's index is the pair's."""
    if not np.isfinite([dense_weight, sparse_weight]).all():
        raise QueryError(f"the weights are {dense_weight} and {sparse_weight}; give finite numbers")
    queries = encoder.encode(
        [query for query, _ in pairs], kind="query", dimensions=dimensions, max_length=max_length
    )
    documents = encoder.encode(
        [document for _, document in pairs], dimensions=dimensions, max_length=max_length
    )
    scores = []
    for index in range(len(pairs)):
        dense = float(queries.dense[index] @ documents.dense[index])
        sparse = 0.0
        if queries.sparse is not None and documents.sparse is not None:
            sparse = shared_weight(queries.sparse[index], documents.sparse[index])
        scores.append(Score(dense_weight * dense + sparse_weight * sparse, dense, sparse))
    return scores


def shared_weight(query: Row, document: Row) -> float:
    """Sum the products of the weights of the tokens that both have."""
    _, ours, theirs = np.intersect1d(query[0], document[0], assume_unique=True, return_indices=True)
    return float(query[1][ours].astype(np.float64) @ document[1][theirs].astype(np.float64))
