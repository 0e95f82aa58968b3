"""Text to tokens to vectors: dense ones and token weights, and the score of a pair."""

from __future__ import annotations

from gte_pg.encoder.encoded import Encoded
from gte_pg.encoder.encoder import Encoder, load_encoder
from gte_pg.encoder.scoring import Score, score, score_pairs
from gte_pg.encoder.token_weights import SparseRows

__all__ = [
    "Encoded",
    "Encoder",
    "Score",
    "SparseRows",
    "load_encoder",
    "score",
    "score_pairs",
]
