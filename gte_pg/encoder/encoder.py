"""The encoder: texts in, dense vectors and token weights out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import arrange, batches
from gte_pg.encoder.pooling import normalised, pooled
from gte_pg.encoder.session import Session
from gte_pg.encoder.token_weights import NO_WEIGHTS, Row, SparseRows, sparse_rows, strongest, weigh
from gte_pg.encoder.tokenizer import TokenizedText, Tokenizer
from gte_pg.errors import EncodingError, ModelError
from gte_pg.graph import built_graph
from gte_pg.models import ModelIdentity, identify, locate
from gte_pg.models.catalogue import find
from gte_pg.models.directory import ModelDirectory, read_directory
from gte_pg.models.token_head import TokenHead, read_token_head

__all__ = ["Encoded", "Encoder", "load_encoder"]

Kind = Literal["document", "query"]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a model says of n texts.

    `dense` is float32[n, dimensions], each row of length 1. `sparse` holds the token weights, None
    where the model has no head for them. `token_counts` (int64[n]) counts the tokens that were
    encoded, special ones included; `truncated` (bool[n]) tells where the text had more.
    """

    dense: NDArray[np.float32]
    sparse: SparseRows | None
    token_counts: NDArray[np.int64]
    truncated: NDArray[np.bool_]


class Encoder:
    """A loaded model. Safe to use from several threads; `encode` blocks its caller.

    encoder = Encoder.load("all-MiniLM-L6-v2")
    encoder.encode(["a text"]).dense  # float32[1, 384]
    """

    def __init__(
        self,
        identity: ModelIdentity,
        directory: ModelDirectory,
        *,
        head: TokenHead | None,
        threads: int,
    ) -> None:
        self.identity = identity
        self._directory = directory
        self._head = head
        self._callers = ThreadPoolExecutor(threads, thread_name_prefix="gte-pg-encode")
        self._tokenizer = Tokenizer(directory)
        if self._tokenizer.size > directory.architecture.vocabulary:
            raise ModelError(
                f"{directory.path}: the tokenizer has {self._tokenizer.size} tokens and the model "
                f"{directory.architecture.vocabulary}; the two files are not of one model"
            )
        self._session = Session(built_graph(directory))

    @classmethod
    def load(cls, name_or_directory: str, *, threads: int | None = None) -> Self:
        """Load a known model or one in a directory. Blocks: fetching and building happen once.

        `threads` is how many batches run at once, by default one per processor that this process
        may use. Raises ModelError, and ModelNotFound where there are no files.
        """
        identity, path = identify(name_or_directory), locate(name_or_directory)
        directory = read_directory(path, find(name_or_directory))
        head = read_token_head(path, directory.architecture) if identity.sparse_dimensions else None
        _check(identity, directory, head)
        return cls(identity, directory, head=head, threads=threads or _processors())

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: Kind = "document",
        dimensions: int | None = None,
        max_length: int | None = None,
    ) -> Encoded:
        """Encode texts; the rows of the result are in their order.

        A query of a model that was trained with an instruction gets it in front. `dimensions` cuts
        the dense vector, before it is normalised. `max_length` counts special tokens; beyond what
        the model can take it means just that. Raises EncodingError with the index of a text that
        cannot be encoded.
        """
        if isinstance(texts, str):
            raise EncodingError("texts is one string; pass a list of texts")
        width, limit = self._width(dimensions), self._limit(max_length)
        instruction = self._directory.query_instruction
        if kind == "query" and instruction:
            # What is no string is left for the tokenizer to refuse by its index.
            texts = [instruction + text if isinstance(text, str) else text for text in texts]
        tokenized = self._tokenizer.tokenize(texts, limit)
        lengths = [len(text.ids) for text in tokenized]
        dense = np.empty((len(tokenized), width), np.float32)
        weights: list[Row] = [NO_WEIGHTS] * len(tokenized)
        for group, (vectors, rows) in self._run(tokenized, batches(lengths)):
            dense[group] = normalised(vectors[:, :width], group)
            for index, row in zip(group, rows, strict=True):
                weights[index] = row
        return Encoded(
            dense=dense,
            sparse=None if self._head is None else sparse_rows(weights, self._vocabulary),
            token_counts=np.array(lengths, np.int64),
            truncated=np.array([text.truncated for text in tokenized], np.bool_),
        )

    def token_weights(
        self, indices: NDArray[np.int32], values: NDArray[np.float32]
    ) -> dict[str, float]:
        """Return a stored sparse vector (canonical ids and weights) as decoded token → weight."""
        return {
            self._tokenizer.decoded(int(token)): float(weight)
            for token, weight in zip(indices, values, strict=True)
        }

    def _run(
        self, texts: Sequence[TokenizedText], groups: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], tuple[NDArray[np.float32], list[Row]]]]:
        def run(group: list[int]) -> tuple[NDArray[np.float32], list[Row]]:
            return self._encode_batch([texts[index].ids for index in group])

        # A single batch gains nothing from another thread.
        results = map(run, groups) if len(groups) < 2 else self._callers.map(run, groups)
        return zip(groups, results, strict=True)

    def _encode_batch(self, ids: list[list[int]]) -> tuple[NDArray[np.float32], list[Row]]:
        """Return the pooled vectors of a batch, not normalised, and the token weights per text."""
        batch = arrange(ids)
        hidden = self._session.run(batch)
        vectors = pooled(hidden, batch.starts, self._directory.pooling)
        if self._head is None:
            return vectors, [NO_WEIGHTS] * len(ids)
        tokens = np.split(self._tokenizer.canonical[batch.tokens], batch.starts[1:])
        weights = np.split(weigh(hidden, self._head), batch.starts[1:])
        return vectors, [strongest(*pair) for pair in zip(tokens, weights, strict=True)]

    @property
    def _vocabulary(self) -> int:
        return self._directory.architecture.vocabulary

    def _width(self, dimensions: int | None) -> int:
        full = self.identity.dimensions
        if dimensions is None:
            return full
        low, high = self.identity.elastic or (full, full)
        if not low <= dimensions <= high:
            allowed = f"{low} to {high}" if low < high else f"{full} only"
            raise EncodingError(
                f"dimensions is {dimensions}; {self.identity.name} was made for {allowed}"
            )
        return dimensions

    def _limit(self, max_length: int | None) -> int:
        if max_length is None:
            return min(self.identity.max_length, self._directory.architecture.positions)
        if max_length < self._tokenizer.special_count:
            raise EncodingError(
                f"max_length is {max_length}; it counts special tokens, "
                f"so it is at least {self._tokenizer.special_count}"
            )
        return min(max_length, self._directory.architecture.positions)


def _check(identity: ModelIdentity, directory: ModelDirectory, head: TokenHead | None) -> None:
    """Hold a known model's files to what declarations were told of it without them."""
    architecture = directory.architecture
    promised = (identity.dimensions, identity.sparse_dimensions)
    found = (architecture.hidden, None if head is None else architecture.vocabulary)
    if promised != found:
        raise ModelError(
            f"{directory.path} has {found[0]} dimensions and {found[1]} token weights, and "
            f"{identity.name} has {promised[0]} and {promised[1]}; fetch the model again"
        )


def _processors() -> int:
    """Return how many processors this process may use, which in a container are not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_loaded: dict[str, Encoder] = {}
_loading = Lock()


def load_encoder(name_or_directory: str) -> Encoder:
    """Return this process's encoder for a model, loading it the first time. Thread-safe."""
    known = find(name_or_directory)
    key = known.name if known else str(Path(name_or_directory).expanduser().resolve())
    if key not in _loaded:
        with _loading:
            if key not in _loaded:
                _loaded[key] = Encoder.load(name_or_directory)
    return _loaded[key]
