"""Numbers that others published for a model, against the ones computed here.

`published.json` holds one record a number or table: the texts, the values, where they stand, and how
far off another implementation or precision may be. What is compared depends on the kind:

    embeddings         1 - cosine with each whole vector
    first-dimensions   the first values of the unit vector
    sum-of-dimensions  the sum over the unit vector
    cosine-matrix      the cosine of each text with each
    similarities       the cosine of a query with documents, no instruction in front
    scores             the reference score of a query with documents, at given weights
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from gte_pg.encoder.encoder import Encoder
from gte_pg.encoder.scoring import score_pairs
from gte_pg.errors import ModelError

__all__ = ["Comparison", "compare_with_published"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One published record. `difference` is the largest found, and holds up to `tolerance`."""

    kind: str
    source: str
    difference: float
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.difference <= self.tolerance


def compare_with_published(encoder: Encoder, model: str) -> list[Comparison]:
    """Compare a loaded model with everything published for the known model of that name.

    Empty where nothing is. Blocks while it encodes some texts.
    """
    return [
        Comparison(
            record["kind"], record["source"], _difference(encoder, record), record["tolerance"]
        )
        for record in _records()
        if record["model"] == model
    ]


@cache
def _records() -> list[dict[str, Any]]:
    text = (resources.files("gte_pg.encoder") / "published.json").read_text(encoding="utf-8")
    records: list[dict[str, Any]] = json.loads(text)
    return records


def _difference(encoder: Encoder, record: dict[str, Any]) -> float:
    values = np.array(record["values"])
    if record["kind"] == "scores":
        pairs = [(record["query"], document) for document in record["documents"]]
        found = score_pairs(
            encoder,
            pairs,
            dense_weight=record["dense_weight"],
            sparse_weight=record["sparse_weight"],
        )
        return float(np.abs([one.score for one in found] - values).max())
    texts = record["texts"] if "texts" in record else [record["query"], *record["documents"]]
    vectors = encoder.encode(texts).dense
    match record["kind"]:
        case "embeddings":
            unit = values / np.linalg.norm(values, axis=1, keepdims=True)
            return float((1 - (vectors * unit).sum(axis=1)).max())
        case "first-dimensions":
            computed = vectors[0, : len(values)]
        case "sum-of-dimensions":
            computed = vectors.sum(axis=1)
        case "cosine-matrix":
            computed = vectors @ vectors.T
        case "similarities":
            computed = vectors[1:] @ vectors[0]
        case kind:
            raise ModelError(f"published.json holds the unknown kind {kind!r}; update gte-pg")
    return float(np.abs(computed - values).max())
