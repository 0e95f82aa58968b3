"""Any number of texts in bounded memory, and no text that pays for another's length."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gte_pg.encoder import Encoder
from gte_pg.encoder.batching import arrange, batches
from gte_pg.encoder.chunks import CHUNK_CHARACTERS, CHUNK_TEXTS, chunks
from gte_pg.errors import EncodingError

if TYPE_CHECKING:
    from tests.encoder.conftest import Golden


def test_a_stream_gives_what_encode_gives(encoder: Encoder) -> None:
    texts = [f"cat {number} " * (1 + number % 9) for number in range(2 * CHUNK_TEXTS + 5)]
    parts = list(encoder.encode_stream(iter(texts)))
    assert [len(part.dense) for part in parts] == [CHUNK_TEXTS, CHUNK_TEXTS, 5]
    whole = encoder.encode(texts)
    np.testing.assert_array_equal(np.concatenate([part.dense for part in parts]), whole.dense)
    counts = np.concatenate([part.token_counts for part in parts])
    np.testing.assert_array_equal(counts, whole.token_counts)
    assert whole.sparse is not None
    rows = [part.sparse[row] for part in parts if part.sparse for row in range(len(part.sparse))]
    for row, (indices, values) in enumerate(rows):
        np.testing.assert_array_equal(whole.sparse[row][0], indices)
        np.testing.assert_array_equal(whole.sparse[row][1], values)


def test_a_stream_is_read_one_chunk_ahead(encoder: Encoder) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield "cat"

    stream = encoder.encode_stream(texts())
    assert read == 0
    for number in range(1, 4):
        next(stream)
        assert read == (number + 1) * CHUNK_TEXTS + 1


def test_memory_does_not_grow_with_the_input(encoder: Encoder) -> None:
    peaks = []
    for count in (4, 16):
        tracemalloc.start()
        for part in encoder.encode_stream("a cat" for _ in range(count * CHUNK_TEXTS)):
            assert np.isfinite(part.dense).all()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_the_index_of_a_bad_text_counts_from_the_first_of_all(encoder: Encoder) -> None:
    texts: list[object] = ["cat"] * (2 * CHUNK_TEXTS + 50)
    texts[2 * CHUNK_TEXTS + 7] = 7
    with pytest.raises(EncodingError) as caught:
        encoder.encode(texts)  # type: ignore[arg-type]
    assert caught.value.index == 2 * CHUNK_TEXTS + 7


def test_settings_are_refused_before_anything_is_read(encoder: Encoder) -> None:
    with pytest.raises(EncodingError, match="dimensions is 0"):
        encoder.encode_stream(iter(["cat"]), dimensions=0)


def test_chunks_are_bounded_in_characters() -> None:
    long = "x" * (CHUNK_CHARACTERS // 2)
    found = list(chunks([long, long, "y", long * 4, "z"]))
    assert [(start, len(texts)) for start, texts in found] == [(0, 2), (2, 1), (3, 1), (4, 1)]


def test_one_long_text_does_not_widen_the_others() -> None:
    lengths = [20] * 100 + [8192] + [20] * 100
    groups = batches(lengths)
    assert sorted(index for group in groups for index in group) == list(range(201))
    assert [100] in groups
    padded = sum(arrange([[0] * lengths[i] for i in group]).rows.size for group in groups)
    assert padded == sum(lengths)


def test_a_long_and_short_texts_together(golden: Golden) -> None:
    encoder = Encoder.load(str(golden.path), threads=2)
    texts = ["a cat", "the cat sat on the mat " * 2000, "a dog"]
    together = encoder.encode(texts)
    assert together.token_counts[1] > 200
    for index in (0, 2):
        expected = encoder.encode([texts[index]]).dense[0]
        np.testing.assert_allclose(together.dense[index], expected, atol=1e-6)
