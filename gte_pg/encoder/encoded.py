"""What a model says of texts, and putting it together from chunks of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.token_weights import Row, SparseRows, sparse_rows

__all__ = ["Encoded", "gathered"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a model says of n texts.

    `dense` is float32[n, dimensions], each row of length 1. `sparse` holds the token weights, None
    where the model has no head for them. `token_counts` (int64[n]) counts the tokens that were
    encoded, special ones included; `truncated` (bool[n]) tells where the text had more.

        >>> encoded = encoder.encode(["a text", "a longer text"])
        >>> encoded.dense.shape, len(encoded.sparse), encoded.token_counts.tolist()
        ((2, 384), 2, [4, 5])
    """

    dense: NDArray[np.float32]
    sparse: SparseRows | None
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]


def gathered(
    parts: Iterable[Encoded], count: int, width: int, sparse_dimensions: int | None
) -> Encoded:
    """Join the parts of `count` texts, each freed as soon as it is copied."""
    dense = np.empty((count, width), np.float32)
    token_counts, truncated = np.empty(count, np.int64), np.empty(count, np.bool_)
    rows: list[Row] = []
    at = 0
    for part in parts:
        span = slice(at, at + len(part.dense))
        dense[span], token_counts[span], truncated[span] = (
            part.dense,
            part.token_counts,
            part.truncated,
        )
        if part.sparse is not None:
            rows += (part.sparse[row] for row in range(len(part.sparse)))
        at = span.stop
    sparse = None if sparse_dimensions is None else sparse_rows(rows, sparse_dimensions)
    return Encoded(dense, sparse, token_counts, truncated)
