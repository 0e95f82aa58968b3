"""How good rankings are, by the judgements of a collection: nDCG@10, recall@10, recall@100 and MRR@10.

DCG@k       Σ over the first k places of gain / log2(1 + place)
nDCG@k      DCG@k by that of the best ranking there could be
recall@k    the share of the relevant documents that are among the first k
MRR@k       1 / place of the first relevant document, 0 if it is not among the first k
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over the queries, each from 0 to 1."""

    ndcg_at_10: float
    recall_at_10: float
    recall_at_100: float
    mrr_at_10: float


def quality(
    rankings: Mapping[str, Sequence[str]], judged: Mapping[str, Mapping[str, int]]
) -> Quality:
    """Return the quality of the rankings of all judged queries; one that is missing counts as empty."""
    pairs = [(rankings.get(query, ()), relevant) for query, relevant in judged.items()]
    return Quality(
        ndcg_at_10=statistics.fmean(ndcg(ranked, relevant, 10) for ranked, relevant in pairs),
        recall_at_10=statistics.fmean(recall(ranked, relevant, 10) for ranked, relevant in pairs),
        recall_at_100=statistics.fmean(recall(ranked, relevant, 100) for ranked, relevant in pairs),
        mrr_at_10=statistics.fmean(
            reciprocal_rank(ranked, relevant, 10) for ranked, relevant in pairs
        ),
    )


def ndcg(ranked: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    gains = [relevant.get(document, 0) for document in ranked[:k]]
    return _dcg(gains) / _dcg(sorted(relevant.values(), reverse=True)[:k])


def recall(ranked: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    return len(relevant.keys() & set(ranked[:k])) / len(relevant)


def reciprocal_rank(ranked: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    places = (place for place, document in enumerate(ranked[:k], 1) if document in relevant)
    return 1 / next(places, math.inf)


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(1 + place) for place, gain in enumerate(gains, 1))
