"""int8: near float32, the same whatever the batch, and never taken for float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from gte_pg.encoder import Encoder, load_encoder
from gte_pg.errors import ModelError
from gte_pg.models import identify

if TYPE_CHECKING:
    from tests.encoder.conftest import Golden


def test_int8_is_near_float32(golden: Golden) -> None:
    texts = golden.texts("main")
    exact = load_encoder(str(golden.path)).encode(texts)
    near = load_encoder(str(golden.path), precision="int8").encode(texts)
    cosines = (exact.dense * near.dense).sum(axis=1)
    assert cosines.mean() > 0.998
    assert cosines.max() < 1 - 1e-7, "it is float32"
    assert (exact.sparse is None) == (near.sparse is None)


def test_int8_does_not_depend_on_the_batch(golden: Golden) -> None:
    encoder = load_encoder(str(golden.path), precision="int8")
    texts = ["cat", "Vector search finds the nearest neighbours. " * 30, *golden.texts("main")]
    together = encoder.encode(texts * 2).dense
    alone = np.concatenate([encoder.encode([text]).dense for text in texts])
    np.testing.assert_allclose(together[: len(texts)], alone, atol=1e-6)
    np.testing.assert_allclose(together[len(texts) :], alone, atol=1e-6)


def test_precisions_are_different_generations(golden: Golden) -> None:
    exact = identify(str(golden.path))
    near = load_encoder(str(golden.path), precision="int8").identity
    assert near == identify(str(golden.path), precision="int8")
    assert exact.fingerprint == near.fingerprint
    assert exact.generation(32) == f"{exact.fingerprint}/float32/32"
    assert near.generation(32) == f"{exact.fingerprint}/int8/32"


def test_both_precisions_may_be_loaded_at_once(golden: Golden) -> None:
    path = str(golden.path)
    assert load_encoder(path) is load_encoder(path)
    assert load_encoder(path) is not load_encoder(path, precision="int8")


def test_unknown_settings(golden: Golden) -> None:
    path = str(golden.path)
    with pytest.raises(ModelError, match="precision is 'int4'"):
        Encoder.load(path, precision="int4")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="threads is 0"):
        Encoder.load(path, threads=0)
    with pytest.raises(ModelError, match="no provider 'NoSuchProvider'"):
        Encoder.load(path, providers=["NoSuchProvider"])
