"""Token weights: how much each token matters in its text, as one sparse vector per text.

    w(t) = max over the places of t in the text of relu(⟨hidden, head⟩ + bias), kept where w(t) > 0

The key of a weight is the token's decoded string, not its id: two ids that decode to the same
string are one key, and so each key is stored as the smallest of its ids. The piece that decodes to
the empty string counts like any other. Source: `scripts/gte_embedding.py` of the GTE team.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gte_pg.models.token_head import TokenHead

__all__ = ["NO_WEIGHTS", "Row", "SparseRows", "sparse_rows", "strongest", "weigh"]

Row = tuple[NDArray[np.int32], NDArray[np.float32]]
NO_WEIGHTS: Row = (np.empty(0, np.int32), np.empty(0, np.float32))


@dataclass(frozen=True, slots=True)
class SparseRows:
    """The token weights of n texts, one after the other.

    Row i is `indices[indptr[i]:indptr[i + 1]]` with `values` likewise: canonical token ids
    (int32, ascending) and their weights (float32, above 0). `indptr` is int64[n + 1], and
    `dimensions` the size of the vocabulary.

        >>> rows = encoder.encode(["a text"]).sparse
        >>> indices, weights = rows[0]
        >>> len(rows), indices.tolist(), rows.dimensions
        (1, [1037, 3793], 30522)
    """

    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    dimensions: int

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> Row:
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no row {row}: there are {len(self)}")
        row %= len(self)
        span = slice(self.indptr[row], self.indptr[row + 1])
        return self.indices[span], self.values[span]


def weigh(hidden: NDArray[np.float32], head: TokenHead) -> NDArray[np.float32]:
    """Return the weight of each token, float32[tokens], from hidden states [tokens, hidden]."""
    weights: NDArray[np.float32] = hidden @ head.weight
    weights += np.float32(head.bias)
    return np.maximum(weights, 0, out=weights)


def strongest(tokens: NDArray[np.int32], weights: NDArray[np.float32]) -> Row:
    """Keep each canonical token (not -1) once, with its largest weight where that is above 0."""
    kept = (tokens >= 0) & (weights > 0)
    tokens, weights = tokens[kept], weights[kept]
    order = np.lexsort((weights, tokens))
    tokens, weights = tokens[order], weights[order]
    largest = np.ones(len(tokens), np.bool_)
    largest[:-1] = tokens[1:] != tokens[:-1]
    return tokens[largest], weights[largest]


def sparse_rows(rows: Sequence[Row], dimensions: int) -> SparseRows:
    """Join the texts' rows, each as `strongest` makes it."""
    rows = [NO_WEIGHTS, *rows]
    return SparseRows(
        indptr=np.cumsum([len(indices) for indices, _ in rows], dtype=np.int64),
        indices=np.concatenate([indices for indices, _ in rows]),
        values=np.concatenate([values for _, values in rows]),
        dimensions=dimensions,
    )
