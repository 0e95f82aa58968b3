"""How near the vectors of int8 are to those of float32, and how many nearest texts they share.

.venv/bin/python benchmarks/encode/int8.py --texts descriptions.jsonl.xz --field description --count 300
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from compare import sample

from gte_pg.encoder import load_encoder

NEAREST = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--texts", type=Path, required=True, help="JSON Lines, perhaps .xz")
    parser.add_argument("--field", default="description")
    parser.add_argument("--count", type=int, default=300)
    asked = parser.parse_args()
    texts = sample(asked.texts, asked.field, asked.count)
    exact = load_encoder(asked.model).encode(texts).dense
    rough = load_encoder(asked.model, precision="int8").encode(texts).dense
    cosines = (exact * rough).sum(axis=1)
    print(f"cosine of int8 to float32: mean {cosines.mean():.4f}, least {cosines.min():.4f}")
    shared = [len(one & other) for one, other in zip(nearest(exact), nearest(rough), strict=True)]
    print(f"of the {NEAREST} nearest texts the same: {np.mean(shared) / NEAREST:.1%}")


def nearest(vectors: np.ndarray) -> list[set[int]]:
    """Return the other texts that are nearest to each."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return [set(row) for row in np.argsort(-scores, axis=1)[:, :NEAREST].tolist()]


if __name__ == "__main__":
    main()
