"""What `Encoder.encode` promises beside its numbers: order, independence, limits, errors."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from gte_pg.encoder import Encoder, load_encoder, score, score_pairs
from gte_pg.encoder import encoder as encoder_module
from gte_pg.errors import EncodingError, ModelError, ModelNotFound, QueryError
from gte_pg.models import identify
from gte_pg.models.catalogue import Precision

if TYPE_CHECKING:
    from pathlib import Path

    from tests.encoder.conftest import Copy, EditJson, Golden

SHORT, LONG = "a cat", "Vector search finds the nearest neighbours of a query. " * 40


def test_a_text_does_not_depend_on_its_neighbours(golden: Golden) -> None:
    encoder = load_encoder(str(golden.path))
    texts = [SHORT, LONG, *golden.texts("main")] * 3
    random.Random(1).shuffle(texts)
    together = encoder.encode(texts)
    for index, text in enumerate(texts):
        alone = encoder.encode([text])
        np.testing.assert_allclose(together.dense[index], alone.dense[0], atol=1e-6)
        if together.sparse is not None and alone.sparse is not None:
            np.testing.assert_array_equal(together.sparse[index][0], alone.sparse[0][0])
            np.testing.assert_allclose(together.sparse[index][1], alone.sparse[0][1], atol=5e-6)


def test_no_texts(encoder: Encoder) -> None:
    encoded = encoder.encode([])
    assert encoded.dense.shape == (0, 64)
    assert encoded.sparse is not None
    assert len(encoded.sparse) == len(encoded.token_counts) == len(encoded.truncated) == 0


def test_types_and_order_of_the_result(encoder: Encoder) -> None:
    encoded = encoder.encode(["the cat", "", "a database keeps rows"])
    assert encoded.dense.dtype == encoded.sparse.values.dtype == np.float32  # type: ignore[union-attr]
    assert encoded.token_counts.dtype == np.int64
    assert encoded.truncated.dtype == np.bool_
    sparse = encoded.sparse
    assert sparse is not None
    assert sparse.indptr.dtype == np.int64
    assert sparse.indices.dtype == np.int32
    assert len(sparse) == 3
    for indices, values in (sparse[0], sparse[1], sparse[-1]):
        assert (np.diff(indices) > 0).all()
        assert (values > 0).all()
    with pytest.raises(IndexError):
        sparse[3]


def test_two_ids_of_one_string_are_one_key(encoder: Encoder) -> None:
    # "cat" stands at the start of a word (▁cat) and inside one: two ids, one decoded string.
    weights = encoder.encode(["cat xcat"]).sparse
    assert weights is not None
    keys = list(encoder.token_weights(*weights[0]))
    assert len(keys) == len(set(keys))
    canonical = encoder._tokenizer.canonical
    strings = [encoder._tokenizer.decoded(token) for token in range(len(canonical))]
    for token, smallest in enumerate(canonical):
        if smallest >= 0:
            assert strings[smallest] == strings[token]
            assert strings.index(strings[token]) == smallest
    assert (np.flatnonzero(canonical == -1) == [0, 1, 2, 3]).all()


@pytest.mark.parametrize("dimensions", [0, -1, 65])
def test_dimensions_outside_the_range(encoder: Encoder, dimensions: int) -> None:
    with pytest.raises(EncodingError, match=rf"dimensions is {dimensions}; .* 1 to 64"):
        encoder.encode(["a"], dimensions=dimensions)


def test_max_length_counts_special_tokens(encoder: Encoder) -> None:
    encoded = encoder.encode([LONG, "", "cat"], max_length=3)
    assert encoded.token_counts.tolist() == [3, 2, 3]
    assert encoded.truncated.tolist() == [True, False, False]
    with pytest.raises(EncodingError, match="at least 2"):
        encoder.encode(["a"], max_length=1)


def test_max_length_stops_at_what_the_model_takes(data: Path) -> None:
    encoder = load_encoder(str(data / "golden" / "bert_cls"))
    encoded = encoder.encode([LONG * 5], max_length=100_000)
    assert encoded.token_counts.tolist() == [512]
    assert (
        encoder.encode([LONG * 5]).token_counts.tolist() == [encoder.identity.max_length] == [256]
    )


@pytest.mark.parametrize("bad", ["\ud800", "a\udfff", 1, None, b"bytes"])
def test_what_is_no_text_is_refused_by_index(encoder: Encoder, bad: object) -> None:
    with pytest.raises(EncodingError) as caught:
        encoder.encode(["a", "b", bad, "c"])  # type: ignore[list-item]
    assert caught.value.index == 2


def test_one_string_is_not_a_list_of_texts(encoder: Encoder) -> None:
    with pytest.raises(EncodingError, match="pass a list"):
        encoder.encode("a text")


def test_nul_and_naughty_strings_encode(golden: Golden, data: Path) -> None:
    texts = ["a\0b", "\0", *json.loads((data / "blns.json").read_text())]
    encoded = load_encoder(str(golden.path)).encode(texts)
    np.testing.assert_allclose(np.linalg.norm(encoded.dense, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "text", ["lorem ipsum " * 850_000, "x" * 10_000_000, " " * 10_000_000, "数" * 3_400_000]
)
def test_ten_megabytes(encoder: Encoder, text: str) -> None:
    encoded = encoder.encode([text], max_length=64)
    assert encoded.token_counts[0] <= 64
    assert bool(encoded.truncated[0]) == (text.strip() != "")
    assert np.isfinite(encoded.dense).all()


def test_the_end_of_a_long_text_changes_nothing(encoder: Encoder) -> None:
    words = "the cat sat on a mat " * 400
    whole = encoder.encode([words], max_length=64)
    again = encoder.encode([words[:2000]], max_length=64)
    np.testing.assert_allclose(whole.dense, again.dense, atol=1e-6)


def test_queries_get_the_models_instruction(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("bert_cls")
    prompts: dict[str, object] = {"prompts": {"query": "search: "}}
    edit_json(path / "config_sentence_transformers.json", prompts)
    encoder = Encoder.load(str(path))
    query = encoder.encode(["cat"], kind="query")
    np.testing.assert_array_equal(query.dense, encoder.encode(["search: cat"]).dense)
    assert not np.allclose(query.dense, encoder.encode(["cat"]).dense)


def test_a_known_models_instruction_comes_from_the_catalogue(copy_of: Copy) -> None:
    path = copy_of("bert_mean")
    encoder = Encoder.load(str(path.rename(path.parent / "bge-small-zh-v1.5")))
    query = encoder.encode(["cat"], kind="query").dense
    expected = encoder.encode(["为这个句子生成表示以用于检索相关文章：cat"]).dense
    np.testing.assert_array_equal(query, expected)


def test_several_threads_at_once(golden: Golden) -> None:
    encoder = Encoder.load(str(golden.path), threads=3)
    texts = golden.texts("main") * 10
    expected = encoder.encode(texts).dense
    with ThreadPoolExecutor(4) as callers:
        for found in callers.map(encoder.encode, [texts] * 8):
            np.testing.assert_allclose(found.dense, expected, atol=1e-6)


def test_a_model_is_loaded_once(copy_of: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(copy_of("bert_mean"))
    loads: list[str] = []
    start, load = threading.Barrier(8), Encoder.load

    def counted(name: str, precision: Precision) -> Encoder:
        loads.append(name)
        return load(name, precision=precision)

    def get(_: int) -> Encoder:
        start.wait()
        return load_encoder(path)

    monkeypatch.setattr(Encoder, "load", counted)
    with ThreadPoolExecutor(8) as callers:
        encoders = set(callers.map(get, range(8)))
    assert len(encoders) == len(loads) == 1


def test_identity_of_a_loaded_model(golden: Golden) -> None:
    assert load_encoder(str(golden.path)).identity == identify(str(golden.path))


def test_files_that_are_not_the_named_model(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "locate", lambda _: data / "golden" / "bert_mean")
    with pytest.raises(ModelError, match="has 64 dimensions .* gte-small has 384"):
        Encoder.load("gte-small")


def test_no_such_model() -> None:
    with pytest.raises(ModelNotFound, match="near ones: gte-multilingual-base"):
        load_encoder("gte-multilingual")


def test_score_of_one_pair(encoder: Encoder) -> None:
    plain = score(encoder, "the cat", "a cat", sparse_weight=0.5)
    assert plain.score == pytest.approx(plain.dense + 0.5 * plain.sparse)
    assert plain.sparse > 0
    assert score(encoder, "the cat", "a cat", dimensions=8).dense != plain.dense


def test_scores_need_finite_weights_and_texts(encoder: Encoder) -> None:
    with pytest.raises(QueryError, match="nan"):
        score(encoder, "a", "b", dense_weight=float("nan"))
    with pytest.raises(EncodingError) as caught:
        score_pairs(encoder, [("a", "b"), ("a", "\ud800")])
    assert caught.value.index == 1


def test_score_without_a_token_head(data: Path) -> None:
    found = score(load_encoder(str(data / "golden" / "bert_mean")), "cat", "cat")
    assert found.sparse == 0
    assert found.score == pytest.approx(1)
