"""Which tokens a query and a row have in common: what the sparse part of a score is made of."""

from __future__ import annotations

import numpy as np

from gte_pg.encoder import Encoder
from gte_pg.search.query import QueryVectors, parse_sparse


def shared_tokens(encoder: Encoder, query: QueryVectors, row: str | None) -> dict[str, float]:
    """Return each shared token with what it adds to the (unweighted) sparse part, largest first.

    `row` is the sparse vector of a row in pgvector's text form.
    """
    asked, kept = parse_sparse(query.sparse), parse_sparse(row or "")
    products = {index: asked[index] * kept[index] for index in asked.keys() & kept.keys()}
    ranked = sorted(products, key=lambda index: -products[index])
    return encoder.token_weights(
        np.array(ranked, np.int32), np.array([products[index] for index in ranked], np.float32)
    )
