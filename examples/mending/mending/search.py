"""Searching: the notes that fit best, and why each of them does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import numpy as np
from pgvector import SparseVector
from sqlalchemy.ext.asyncio import AsyncSession

from gte_pg import load_encoder
from mending.models import MODEL, Note

SPARSE_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Found:
    """A note, its score, and the two parts that it is the sum of; what each shared word adds."""

    note: Note
    score: float
    meaning: float
    wording: float
    words: dict[str, float]


async def find(session: AsyncSession, text: str, *, topic: str = "", limit: int = 8) -> list[Found]:
    """Return the best notes for a text, best first; of one topic where one is given."""
    where = [Note.topic == topic] if topic else []
    # Both encode the text, which takes milliseconds that belong to other requests.
    statement = await asyncio.to_thread(
        Note.search, text, limit=limit, where=where, sparse_weight=SPARSE_WEIGHT, with_parts=True
    )
    asked = await asyncio.to_thread(_token_weights, text)
    rows = await session.execute(statement.add_columns(Note.__table__.c.embedding_sparse))
    return [
        Found(note, score, dense, SPARSE_WEIGHT * sparse, _shared(asked, weights))
        for note, score, dense, sparse, _, weights in rows
    ]


async def more_like(session: AsyncSession, note: Note, *, limit: int = 4) -> list[Found]:
    """Return the notes most like one that is there. Its stored vectors ask: nothing is encoded."""
    rows = await session.execute(
        Note.similar(note, limit=limit, sparse_weight=SPARSE_WEIGHT, with_parts=True)
    )
    return [
        Found(note, score, dense, SPARSE_WEIGHT * sparse, {})
        for note, score, dense, sparse, _ in rows
    ]


def _token_weights(text: str) -> dict[str, float]:
    encoder = load_encoder(MODEL)
    sparse = encoder.encode([text], kind="query").sparse
    return {} if sparse is None else encoder.token_weights(*sparse[0])


def _shared(asked: dict[str, float], sparse: SparseVector) -> dict[str, float]:
    """Return what each token that query and note share adds to the score, the most first."""
    indices = np.array(sparse.indices(), np.int32)
    kept = load_encoder(MODEL).token_weights(indices, np.array(sparse.values(), np.float32))
    adds = {word: SPARSE_WEIGHT * asked[word] * kept[word] for word in asked.keys() & kept.keys()}
    return dict(sorted(adds.items(), key=lambda pair: -pair[1]))
