from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gte_pg.encoder import Encoded, Encoder
from gte_pg.errors import EncodingError

GOLDEN = Path(__file__).parents[1] / "data" / "golden"


def test_a_stream_is_read_as_it_is_encoded_and_gives_the_same() -> None:
    encoder = Encoder.load(str(GOLDEN / "bert_mean"))
    texts = [f"text {n} " + "word " * (n % 7) for n in range(5_000)]
    read = 0

    def source() -> Iterator[str]:
        nonlocal read
        for text in texts:
            read += 1
            yield text

    stream = encoder.encode_stream(source())
    first = next(stream)
    assert read <= 3 * len(first.dense), "the whole input was read before anything was encoded"
    chunks = [first, *stream]
    assert sum(len(chunk.dense) for chunk in chunks) == len(texts)
    together = np.concatenate([chunk.dense for chunk in chunks])
    np.testing.assert_allclose(together, encoder.encode(texts).dense, atol=1e-6)


def test_an_error_counts_from_the_first_text_of_all() -> None:
    encoder = Encoder.load(str(GOLDEN / "bert_mean"))
    texts = ["fine"] * 3_000 + [None] + ["fine"]
    chunks: list[Encoded] = []
    with pytest.raises(EncodingError) as raised:
        chunks.extend(encoder.encode_stream(texts))  # type: ignore[arg-type]
    assert raised.value.index == 3_000
    assert sum(len(chunk.dense) for chunk in chunks) <= 3_000
