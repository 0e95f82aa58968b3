"""int8 with a scale a token: near float32, and a text's vector does not depend on its neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gte_pg.encoder import Encoder
from gte_pg.errors import ModelError
from gte_pg.models import identify

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
TEXTS = [
    "a cat",
    "A database keeps rows and columns in order.",
    "数据库保存行和列。",
    "cat " * 60,
    "",
]


@pytest.mark.parametrize("name", ["new_ntk", "new_fp16", "bert_mean", "bert_cls"])
def test_int8_is_near_float32_and_blind_to_the_batch(name: str) -> None:
    exact = Encoder.load(str(GOLDEN / name)).encode(TEXTS)
    encoder = Encoder.load(str(GOLDEN / name), precision="int8")
    quick = encoder.encode(TEXTS)
    cosines = (exact.dense * quick.dense).sum(axis=1)
    assert cosines.min() > 0.99
    assert not np.array_equal(exact.dense, quick.dense), "nothing was quantised"
    for index, text in enumerate(TEXTS):
        alone = encoder.encode([text]).dense[0]
        np.testing.assert_allclose(quick.dense[index], alone, atol=1e-5)


@pytest.mark.model
def test_int8_on_real_weights() -> None:
    texts = [
        f"The function number {n} returns what was asked for: {'word ' * (n % 40)}"
        for n in range(60)
    ]
    exact = Encoder.load("all-MiniLM-L6-v2").encode(texts)
    quick = Encoder.load("all-MiniLM-L6-v2", precision="int8").encode(texts)
    assert (exact.dense * quick.dense).sum(axis=1).mean() > 0.995


def test_int8_vectors_are_another_generation() -> None:
    exact, quick = (identify("gte-small", precision=kind) for kind in ("float32", "int8"))
    assert exact.generation(384) == f"{exact.fingerprint}/float32/384"
    assert quick.generation(384) == f"{exact.fingerprint}/int8/384"


def test_another_precision_is_refused() -> None:
    with pytest.raises(ModelError, match="'int4'"):
        Encoder.load(str(GOLDEN / "bert_cls"), precision="int4")  # type: ignore[arg-type]
