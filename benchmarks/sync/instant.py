"""An encoder that takes no time: ready-made vectors of 384 dimensions, 30 to 59 token weights a row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gte_pg.encoder import Encoded, Encoder, SparseRows
from gte_pg.models import identify

MODEL = "all-MiniLM-L6-v2"

_READY = 16_384
_FEWEST_TOKENS, _MOST_TOKENS = 30, 60


class InstantEncoder(Encoder):
    """Each call gives the next of its vectors, from the first again after the last."""

    def __init__(self) -> None:
        self.identity = identify(MODEL)
        self._next = 0
        random = np.random.default_rng(1)
        dense = random.standard_normal((_READY, self.identity.dimensions), np.float32)
        self._dense = dense / np.linalg.norm(dense, axis=1, keepdims=True)
        vocabulary = self.identity.sparse_dimensions
        assert vocabulary is not None
        # Sums of steps ascend and are all different.
        steps = random.integers(1, vocabulary // _MOST_TOKENS, (_READY, _MOST_TOKENS))
        counts = random.integers(_FEWEST_TOKENS, _MOST_TOKENS, _READY)
        tokens = steps.cumsum(axis=1)[np.arange(_MOST_TOKENS) < counts[:, None]]
        self._sparse = SparseRows(
            indptr=np.concatenate([[0], np.cumsum(counts)]),
            indices=tokens.astype(np.int32),
            values=1 - random.random(len(tokens), np.float32),
            dimensions=vocabulary,
        )

    def encode(self, texts: Sequence[str], **_options: object) -> Encoded:
        count = len(texts)
        first = self._next if self._next + count <= _READY else 0
        self._next = last = first + count
        sparse = SparseRows(
            self._sparse.indptr[first : last + 1],
            self._sparse.indices,
            self._sparse.values,
            self._sparse.dimensions,
        )
        counts, cut = np.ones(count, np.int64), np.zeros(count, np.bool_)
        return Encoded(self._dense[first:last], sparse, counts, cut)
