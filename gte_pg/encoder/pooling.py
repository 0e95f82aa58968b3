"""From the hidden states of a text's tokens to its one dense vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from gte_pg.errors import EncodingError
from gte_pg.models.catalogue import Pooling

__all__ = ["normalised", "pooled"]


def pooled(
    hidden: NDArray[np.float32], starts: NDArray[np.int64], pooling: Pooling
) -> NDArray[np.float32]:
    """Pool flat hidden states [tokens, width] to [texts, width]: the first token, or the mean."""
    if pooling == "cls":
        return hidden[starts]
    if pooling == "mean":
        lengths = np.diff(starts, append=len(hidden)).astype(np.float32)
        total: NDArray[np.float32] = np.add.reduceat(hidden, starts, axis=0)
        return total / lengths[:, None]
    assert_never(pooling)


def normalised(vectors: NDArray[np.float32], indices: Sequence[int]) -> NDArray[np.float32]:
    """Scale each row to length 1. `indices` are the rows' places among the caller's texts.

    Raises EncodingError where a row is not finite or has no length.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0)))
    if bad.size:
        raise EncodingError(
            f"the model answers with a vector of length {lengths[bad[0], 0]}; "
            "its weights are broken: fetch the model again",
            index=indices[int(bad[0])],
        )
    unit: NDArray[np.float32] = vectors / lengths
    return unit
