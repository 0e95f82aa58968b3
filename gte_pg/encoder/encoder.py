"""The encoder: texts in, dense vectors and token weights out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Lock, Semaphore
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import arrange, batches
from gte_pg.encoder.chunks import chunks
from gte_pg.encoder.encoded import Encoded, gathered
from gte_pg.encoder.forks import PerProcess
from gte_pg.encoder.open_graph import PROVIDERS
from gte_pg.encoder.pooling import normalised, pooled
from gte_pg.encoder.ready_made_session import ReadyMadeSession
from gte_pg.encoder.session import Session
from gte_pg.encoder.token_weights import NO_WEIGHTS, Row, sparse_rows, strongest, weigh
from gte_pg.encoder.tokenizer import TokenizedText, Tokenizer
from gte_pg.errors import EncodingError, ModelError
from gte_pg.graph import built_graph
from gte_pg.models import ModelIdentity, identify, locate
from gte_pg.models.catalogue import Precision, find
from gte_pg.models.directory import ModelDirectory, read_directory
from gte_pg.models.ready_made import is_ready_made, ready_made_graph
from gte_pg.models.token_head import TokenHead, read_token_head

__all__ = ["Encoder", "load_encoder"]

Kind = Literal["document", "query"]
HEAD_START_SECONDS = 0.05


class Encoder:
    """A loaded model. Safe to use from several threads, and in forks; `encode` blocks its caller.

    `load_encoder` keeps one a model for the whole process, which is what most programs want.

        >>> encoder = Encoder.load("all-MiniLM-L6-v2", threads=1)
        >>> encoder.encode(["a text", "another one"]).dense.shape
        (2, 384)
    """

    def __init__(
        self,
        identity: ModelIdentity,
        directory: ModelDirectory,
        *,
        head: TokenHead | None,
        threads: int,
        providers: Sequence[str],
    ) -> None:
        self.identity = identity
        self._directory = directory
        self._head = head
        self._threads = threads
        self._turns = PerProcess(lambda: Semaphore(threads))
        # The last layer need not compute what no one looks at.
        self._firsts_only = (
            directory.pooling == "cls" and head is None and not is_ready_made(directory.path)
        )
        # Both take half a second for the largest models. The session opens without Python's lock, and
        # the tokenizer loads with it: so the session begins first, and neither waits for the other.
        with _new_threads(1) as beside:
            opening = beside.submit(self._open_session, threads, providers)
            wait([opening], timeout=HEAD_START_SECONDS)
            self._tokenizer = _fitting_tokenizer(directory, weighted=head is not None)
            self._session = opening.result()

    @classmethod
    def load(
        cls,
        name_or_directory: str,
        *,
        precision: Precision = "float32",
        threads: int | None = None,
        providers: Sequence[str] = PROVIDERS,
    ) -> Self:
        """Load a known model or one in a directory. Blocks: fetching and building happen once.

        `precision` is float32, which is exact, or int8, which is about twice as fast and gives
        vectors of another generation. `threads` is how many batches run at once, by default one per
        processor that this process may use. `providers` are onnxruntime's, for a build of it that
        has more than the processor. Raises ModelError, and ModelNotFound where there are no files.
        """
        if precision not in get_args(Precision):
            raise ModelError(f"precision is {precision!r}; it is 'float32' or 'int8'")
        if threads is not None and threads < 1:
            raise ModelError(f"threads is {threads}; it takes at least 1")
        identity = identify(name_or_directory, precision=precision)
        path = locate(name_or_directory)
        directory = read_directory(path, find(name_or_directory))
        head = read_token_head(path, directory.architecture) if identity.sparse_dimensions else None
        _check(identity, directory, head)
        return cls(
            identity,
            directory,
            head=head,
            threads=threads or _processors(),
            providers=providers,
        )

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
        parts = self.encode_stream(texts, kind=kind, dimensions=dimensions, max_length=max_length)
        vocabulary = None if self._head is None else self._vocabulary
        return gathered(parts, len(texts), self._width(dimensions), vocabulary)

    def encode_stream(
        self,
        texts: Iterable[str],
        *,
        kind: Kind = "document",
        dimensions: int | None = None,
        max_length: int | None = None,
    ) -> Iterator[Encoded]:
        """Encode any number of texts in memory that does not grow with them, as `encode` does.

        Yields chunk after chunk, at most 1,024 texts each, in the texts' order. Each chunk blocks;
        `texts` is read one chunk ahead, in the caller's thread. An EncodingError's index counts
        from the first text of all, and the chunks before it have been yielded.

            >>> texts = (f"text number {number}" for number in range(1_500))
            >>> [len(part.dense) for part in encoder.encode_stream(texts)]
            [1024, 476]
        """
        if isinstance(texts, str):
            raise EncodingError("texts is one string; pass a list of texts")
        width, limit = self._width(dimensions), self._limit(max_length)
        instruction = self._directory.query_instruction if kind == "query" else ""
        return (
            self._encode_chunk(start, tokenized, width)
            for start, tokenized in self._tokenized(texts, instruction, limit)
        )

    def _tokenized(
        self, texts: Iterable[str], instruction: str, limit: int
    ) -> Iterator[tuple[int, list[TokenizedText]]]:
        """Tokenize each chunk while the one before it runs."""

        def tokenize(start: int, chunk: list[str]) -> tuple[int, list[TokenizedText]]:
            if instruction:
                # What is no string is left for the tokenizer to refuse by its index.
                chunk = [instruction + text if isinstance(text, str) else text for text in chunk]
            return start, self._tokenizer.tokenize(chunk, limit, first=start)

        ready = None
        with _new_threads(1) as beside:
            for start, chunk in chunks(texts):
                if ready is None:
                    ready = tokenize(start, chunk)
                    continue
                following = beside.submit(tokenize, start, chunk)
                yield ready
                ready = following.result()
        if ready is not None:
            yield ready

    def _encode_chunk(self, start: int, texts: Sequence[TokenizedText], width: int) -> Encoded:
        lengths = [len(text.ids) for text in texts]
        dense = np.empty((len(texts), width), np.float32)
        weights: list[Row] = [NO_WEIGHTS] * len(texts)
        groups = batches(lengths, self._session.budget)
        for group, (vectors, rows) in self._run(texts, groups):
            places = [start + index for index in group]
            dense[group] = normalised(vectors[:, :width], places)
            for index, row in zip(group, rows, strict=True):
                weights[index] = row
        return Encoded(
            dense=dense,
            sparse=None if self._head is None else sparse_rows(weights, self._vocabulary),
            token_counts=np.array(lengths, np.int64),
            truncated=np.array([text.truncated for text in texts], np.bool_),
        )

    def token_weights(
        self, indices: NDArray[np.int32], values: NDArray[np.float32]
    ) -> dict[str, float]:
        """Return a stored sparse vector (canonical ids and weights) as decoded token → weight.

        Both are one-dimensional and equally long, as a row of `SparseRows` is.

            >>> list(encoder.token_weights(*encoder.encode(["a text"]).sparse[0]))
            ['a', 'text']
        """
        return {
            self._tokenizer.decoded(int(token)): float(weight)
            for token, weight in zip(indices, values, strict=True)
        }

    def _run(
        self, texts: Sequence[TokenizedText], groups: Sequence[list[int]]
    ) -> Iterator[tuple[list[int], tuple[NDArray[np.float32], list[Row]]]]:
        alone = len(groups) == 1

        def run(group: list[int]) -> tuple[NDArray[np.float32], list[Row]]:
            return self._encode_batch([texts[index].ids for index in group], alone=alone)

        def run_in_turn(group: list[int]) -> tuple[NDArray[np.float32], list[Row]]:
            with self._turns():
                return run(group)

        if alone:
            yield groups[0], run(groups[0])
            return
        with _new_threads(min(self._threads, len(groups))) as beside:
            yield from zip(groups, beside.map(run_in_turn, groups), strict=True)

    def _encode_batch(
        self, ids: list[list[int]], *, alone: bool
    ) -> tuple[NDArray[np.float32], list[Row]]:
        """Return the pooled vectors of a batch, not normalised, and the token weights per text."""
        batch = arrange(ids)
        hidden = self._session.run(batch, alone=alone)
        if self._firsts_only:
            return hidden, [NO_WEIGHTS] * len(ids)
        vectors = pooled(hidden, batch.starts, self._directory.pooling)
        if self._head is None:
            return vectors, [NO_WEIGHTS] * len(ids)
        tokens = np.split(self._tokenizer.canonical[batch.tokens], batch.starts[1:])
        weights = np.split(weigh(hidden, self._head), batch.starts[1:])
        return vectors, [strongest(*pair) for pair in zip(tokens, weights, strict=True)]

    def _open_session(self, threads: int, providers: Sequence[str]) -> Session | ReadyMadeSession:
        directory, precision = self._directory, self.identity.precision
        if is_ready_made(directory.path):
            return ReadyMadeSession(
                ready_made_graph(directory.path, precision),
                hidden=directory.architecture.hidden,
                precision=precision,
                threads=threads,
                providers=providers,
            )
        graph = built_graph(directory, precision, firsts_only=self._firsts_only)
        return Session(graph, precision=precision, threads=threads, providers=providers)

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


def _new_threads(count: int) -> ThreadPoolExecutor:
    """Return threads for one task. None waits for the next: a fork would have it without its threads, and
    the end of the process would wait for them.
    """
    return ThreadPoolExecutor(count, thread_name_prefix="gte-pg-encode")


def _processors() -> int:
    """Return how many processors this process may use, which in a container are not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _fitting_tokenizer(directory: ModelDirectory, *, weighted: bool) -> Tokenizer:
    tokenizer = Tokenizer(directory)
    size = len(tokenizer.canonical) if weighted else tokenizer.size
    if size > directory.architecture.vocabulary:
        raise ModelError(
            f"{directory.path}: the tokenizer has {size} tokens and the model "
            f"{directory.architecture.vocabulary}; the two files are not of one model"
        )
    return tokenizer


_encoders: dict[tuple[str, Precision], Encoder] = {}
_loading = PerProcess(Lock)


def load_encoder(name_or_directory: str, *, precision: Precision = "float32") -> Encoder:
    """Return this process's encoder for a model, loading it the first time. Thread-safe.

    The first time blocks, and raises, as `Encoder.load` does; after that nothing is loaded.

        >>> load_encoder("all-MiniLM-L6-v2") is load_encoder("all-MiniLM-L6-v2")
        True
    """
    known = find(name_or_directory)
    name = known.name if known else str(Path(name_or_directory).expanduser().resolve())
    key = (name, precision)
    if key not in _encoders:
        with _loading():
            if key not in _encoders:
                _encoders[key] = Encoder.load(name_or_directory, precision=precision)
    return _encoders[key]
