"""Retrieval quality: a collection of documents, queries and judgements, and how well each way ranks."""

from __future__ import annotations

from gte_pg.evaluation.collection import Collection, read_collection
from gte_pg.evaluation.corpus_table import corpus_table
from gte_pg.evaluation.quality import Quality, quality
from gte_pg.evaluation.ways import DEPTH, Way, ways

__all__ = [
    "DEPTH",
    "Collection",
    "Quality",
    "Way",
    "corpus_table",
    "quality",
    "read_collection",
    "ways",
]
