"""The rows and queries of the benchmark: encoded once, kept as .npz in a folder.

`debian`   63,666 package descriptions with all-MiniLM-L6-v2: 384 dimensions, its own token weights
`made`     200,000 texts: the descriptions, their sentences, and pairs of sentences. Dense vectors of
           the same model, carried to 768 dimensions by an isometry (inner products stay). Token
           weights made to look learned: each wordpiece somewhere in a vocabulary of 250,048, weight
           2.4 · (idf / largest idf)^1.3 · noise, cut at 0.08.

A query is three to eight words in a row of a text.
"""

from __future__ import annotations

import json
import lzma
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder import Encoder, SparseRows

MODEL = "all-MiniLM-L6-v2"
QUERIES = 300
MADE_ROWS = 200_000
MADE_DIMENSIONS = 768
MADE_VOCABULARY = 250_048

_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class Vectors:
    """Texts with their dense vectors, float32[n, dimensions], and token weights."""

    texts: list[str]
    dense: NDArray[np.float32]
    sparse: SparseRows


def read_texts(descriptions: Path) -> list[str]:
    """Read JSON Lines with `summary` and `description`, perhaps compressed (.xz)."""
    opened = lzma.open if descriptions.suffix == ".xz" else Path.open
    with opened(descriptions, "rt") as lines:
        return [f"{row['summary']}\n{row['description']}" for row in map(json.loads, lines)]


def debian(descriptions: Path, folder: Path) -> tuple[Vectors, Vectors]:
    """Return the descriptions and 300 queries."""
    texts = read_texts(descriptions)
    return (
        _encoded(texts, folder / "descriptions.npz"),
        _encoded(_queries(texts), folder / "queries.npz", kind="query"),
    )


def made(descriptions: Path, folder: Path, rows: int = MADE_ROWS) -> tuple[Vectors, Vectors]:
    """Return the first `rows` of the made texts, in random order, and 300 queries."""
    whole, queries = debian(descriptions, folder)
    more = _more_texts(whole.texts, MADE_ROWS - len(whole.texts))
    parts = _encoded(more, folder / "sentences.npz")
    texts = whole.texts + parts.texts
    dense = np.concatenate([whole.dense, parts.dense])
    chosen = np.random.default_rng(1).permutation(len(texts))[:rows]
    isometry, _ = np.linalg.qr(
        np.random.default_rng(2).standard_normal((MADE_DIMENSIONS, dense.shape[1]))
    )
    carried = isometry.T.astype(np.float32)
    weigh = _Weights(texts)
    kept = [texts[n] for n in chosen]
    return (
        Vectors(kept, dense[chosen] @ carried, weigh(kept, seed=3)),
        Vectors(queries.texts, queries.dense @ carried, weigh(queries.texts, seed=4)),
    )


class _Weights:
    """Token weights that look learned, for texts like those it is made with."""

    def __init__(self, texts: list[str]) -> None:
        self._tokenizer = Encoder.load(MODEL)._tokenizer
        self._place = np.random.default_rng(5).permutation(MADE_VOCABULARY)
        counts = np.zeros(MADE_VOCABULARY)
        for tokens in self._tokens(texts):
            counts[tokens] += 1
        idf = np.log(len(texts) / np.maximum(counts, 1))
        self._weight = 2.4 * (idf / idf.max()) ** 1.3

    def __call__(self, texts: list[str], *, seed: int) -> SparseRows:
        noise = np.random.default_rng(seed)
        indices, values, counts = [], [], [0]
        for tokens in self._tokens(texts):
            weights = self._weight[tokens] * noise.lognormal(0, 0.35, len(tokens))
            kept = weights > 0.08
            indices.append(tokens[kept])
            values.append(weights[kept])
            counts.append(int(kept.sum()))
        return SparseRows(
            indptr=np.cumsum(counts),
            indices=np.concatenate(indices).astype(np.int32),
            values=np.concatenate(values).astype(np.float32),
            dimensions=MADE_VOCABULARY,
        )

    def _tokens(self, texts: list[str]) -> Iterable[NDArray[np.int64]]:
        """The distinct tokens of each text, as ids of the made vocabulary, ascending."""
        for start in range(0, len(texts), _CHUNK):
            chunk = texts[start : start + _CHUNK]
            for found in self._tokenizer.tokenize(chunk, max_length=512):
                yield np.unique(self._place[np.asarray(found.ids[1:-1], np.int64)])


def _more_texts(texts: list[str], rows: int) -> list[str]:
    """Sentences of the texts, and pairs of sentences, about three to one."""
    sentences = [
        sentence
        for text in texts
        for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n|\n \* ", text)
        if len(sentence.split()) >= 4
    ]
    chance = random.Random(6)
    chance.shuffle(sentences)
    alone = min(len(sentences), rows * 3 // 4)
    pairs = [" ".join(chance.sample(sentences, 2)) for _ in range(rows - alone)]
    return sentences[:alone] + pairs


def _queries(texts: list[str]) -> list[str]:
    chance = random.Random(7)
    queries = []
    for text in chance.sample(texts, QUERIES):
        words = text.split()
        length = min(chance.randint(3, 8), len(words))
        start = chance.randint(0, len(words) - length)
        queries.append(" ".join(words[start : start + length]))
    return queries


def _encoded(texts: list[str], file: Path, kind: str = "document") -> Vectors:
    if not file.exists():
        encoded = Encoder.load(MODEL).encode(texts, kind=kind)  # type: ignore[arg-type]
        assert encoded.sparse is not None
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            file,
            dense=encoded.dense,
            indptr=encoded.sparse.indptr,
            indices=encoded.sparse.indices,
            values=encoded.sparse.values,
            dimensions=encoded.sparse.dimensions,
        )
    kept = np.load(file)
    sparse = SparseRows(
        indptr=kept["indptr"],
        indices=kept["indices"],
        values=kept["values"],
        dimensions=int(kept["dimensions"]),
    )
    return Vectors(texts, kept["dense"], sparse)
