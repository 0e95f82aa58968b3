"""Checkpoints of the same model saved in other ways, and models that are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest

from gte_pg.encoder import Encoder
from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.graph.rotary import inverse_frequencies
from gte_pg.models import identify
from gte_pg.models.architecture import RopeScaling

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.encoder.conftest import Copy, EditJson, EditTensors, Tensors

TEXTS = ["The cat sat on the mat.", "a", "Vector search finds neighbours."]


def vectors(path: Path) -> NDArray[np.float32]:
    return Encoder.load(str(path), threads=1).encode(TEXTS).dense


def test_prefix_of_tensor_names_does_not_matter(copy_of: Copy, edit_tensors: EditTensors) -> None:
    path = copy_of("new_ntk")
    expected = vectors(path)
    edit_tensors(path, lambda tensors: {k.removeprefix("new."): v for k, v in tensors.items()})
    np.testing.assert_array_equal(vectors(path), expected)


def test_unpacked_qkv(copy_of: Copy, edit_json: EditJson, edit_tensors: EditTensors) -> None:
    path = copy_of("new_plain")
    expected = vectors(path)

    def unpack(tensors: Tensors) -> Tensors:
        unpacked: Tensors = {}
        for name, tensor in tensors.items():
            if ".qkv_proj." not in name:
                unpacked[name] = tensor
                continue
            for part, third in zip("qkv", np.split(tensor, 3), strict=True):
                unpacked[name.replace(".qkv_proj.", f".{part}_proj.")] = third
        return unpacked

    edit_tensors(path, unpack)
    edit_json(path / "config.json", {"pack_qkv": False})
    np.testing.assert_array_equal(vectors(path), expected)


def test_bfloat16_weights_are_widened(copy_of: Copy, edit_tensors: EditTensors) -> None:
    path = copy_of("bert_cls")
    edit_tensors(path, lambda t: {k: v.astype(ml_dtypes.bfloat16) for k, v in t.items()})
    narrow = vectors(path)
    edit_tensors(path, lambda t: {k: v.astype(np.float32) for k, v in t.items()})
    np.testing.assert_allclose(vectors(path), narrow, atol=1e-6)


def test_no_token_types(copy_of: Copy, edit_json: EditJson, edit_tensors: EditTensors) -> None:
    path = copy_of("new_ntk")
    types = "new.embeddings.token_type_embeddings.weight"
    edit_tensors(path, lambda t: {**t, types: np.zeros_like(t[types])})
    expected = vectors(path)
    edit_tensors(path, lambda t: {k: v for k, v in t.items() if k != types})
    edit_json(path / "config.json", {"type_vocab_size": 0})
    np.testing.assert_allclose(vectors(path), expected, atol=1e-6)


def test_mixed_b_scales_the_slowest_pair_by_the_whole_factor() -> None:
    plain = inverse_frequencies(64, 10_000.0, None)
    mixed = inverse_frequencies(64, 10_000.0, RopeScaling(factor=4.0, mixed_b=0.7))
    assert plain[-1] / mixed[-1] == pytest.approx(4.0)
    assert plain[0] / mixed[0] == pytest.approx(np.exp(np.log(4.0) / 32**0.7))
    assert (np.diff(plain / mixed) > 0).all()


def test_a_reranker_has_no_token_weights(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("new_ntk")
    assert identify(str(path)).sparse_dimensions == 368
    edit_json(path / "config.json", {"architectures": ["NewForSequenceClassification"]})
    assert identify(str(path)).sparse_dimensions is None


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("new_ntk", "layer_norm_type", "rms_norm"),
        ("new_ntk", "logn_attention_scale", True),
        ("new_ntk", "position_embedding_type", "absolute"),
        ("new_ntk", "hidden_act", "relu"),
        ("new_ntk", "rope_theta", 0),
        ("new_ntk", "num_attention_heads", 3),
        ("bert_cls", "position_embedding_type", "relative_key"),
        ("bert_cls", "hidden_act", "gelu_new"),
        ("bert_cls", "is_decoder", True),
        ("bert_cls", "model_type", "xlm-roberta"),
        ("bert_cls", "vocab_size", "many"),
        ("bert_cls", "num_hidden_layers", -1),
    ],
)
def test_unsupported_config_is_refused_by_name(
    copy_of: Copy, edit_json: EditJson, model: str, field: str, value: object
) -> None:
    path = copy_of(model)
    edit_json(path / "config.json", {field: value})
    with pytest.raises(ModelError) as caught:
        Encoder.load(str(path))
    assert field in str(caught.value)
    assert str(value) in str(caught.value)


def test_unsupported_rope_scaling_is_refused(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("new_ntk")
    edit_json(path / "config.json", {"rope_scaling": {"type": "linear", "factor": 2.0}})
    with pytest.raises(ModelError, match="type is 'linear'"):
        identify(str(path))


def test_other_pooling_is_refused(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("bert_cls")
    edit_json(path / "1_Pooling" / "config.json", {"pooling_mode_max_tokens": True})
    with pytest.raises(ModelError, match="cls_token \\+ max_tokens"):
        identify(str(path))


def test_a_dense_layer_after_pooling_is_refused(copy_of: Copy) -> None:
    path = copy_of("bert_cls")
    modules = (path / "modules.json").read_text().replace("models.Normalize", "models.Dense")
    (path / "modules.json").write_text(modules)
    with pytest.raises(ModelError, match="'Dense'"):
        identify(str(path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_missing_file(copy_of: Copy, name: str) -> None:
    path = copy_of("bert_cls")
    (path / name).unlink()
    with pytest.raises(ModelError, match=name):
        Encoder.load(str(path))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_cut_file(copy_of: Copy, name: str) -> None:
    path = copy_of("bert_cls")
    content = (path / name).read_bytes()
    (path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=name):
        Encoder.load(str(path))


def test_pickled_weights_are_named_and_not_read(copy_of: Copy) -> None:
    path = copy_of("bert_cls")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(ModelNotFound, match=r"pytorch_model\.bin, which gte-pg does not read"):
        identify(str(path))


def test_header_that_lies(copy_of: Copy) -> None:
    path = copy_of("bert_cls") / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[:8] = (2**60).to_bytes(8, "little")
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        Encoder.load(str(path.parent))


@pytest.mark.parametrize("model", ["bert_cls", "new_ntk"])
def test_weights_of_another_model(copy_of: Copy, edit_json: EditJson, model: str) -> None:
    path = copy_of(model)
    edit_json(path / "config.json", {"intermediate_size": 100})
    with pytest.raises(ModelError, match=r"has the shape \(\d+, 64\), and config.json makes it"):
        Encoder.load(str(path))


def test_missing_tensor(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("bert_cls")
    edit_json(path / "config.json", {"num_hidden_layers": 4})
    with pytest.raises(ModelError, match=r"encoder\.layer\.3\..* is missing"):
        Encoder.load(str(path))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers(copy_of: Copy, edit_tensors: EditTensors, bad: float) -> None:
    path = copy_of("bert_cls")

    def spoil(tensors: Tensors) -> Tensors:
        tensors["bert.encoder.layer.1.output.dense.bias"][3] = bad
        return tensors

    edit_tensors(path, spoil)
    with pytest.raises(ModelError, match=r"layer\.1\.output\.dense\.bias' holds NaN"):
        Encoder.load(str(path))


def test_tokenizer_larger_than_the_embedding_table(
    copy_of: Copy, edit_json: EditJson, edit_tensors: EditTensors
) -> None:
    path = copy_of("bert_cls")
    words = "bert.embeddings.word_embeddings.weight"
    edit_tensors(path, lambda tensors: {**tensors, words: tensors[words][:400]})
    edit_json(path / "config.json", {"vocab_size": 400})
    with pytest.raises(ModelError, match="the tokenizer has 500 tokens and the model 400"):
        Encoder.load(str(path))


def test_token_head_in_the_directory(copy_of: Copy, edit_json: EditJson) -> None:
    path = copy_of("bert_mean")
    assert identify(str(path)).impact_step == 0.25
    head = {"model": "m", "weights_sha256": "", "weight": [0.0] * 64, "bias": 0.5}
    edit_json(path / "token_head.json", head | {"impact_step": 0.071})
    encoder = Encoder.load(str(path))
    assert encoder.identity.impact_step == 0.071
    sparse = encoder.encode(["cat the cat"]).sparse
    assert sparse is not None
    assert encoder.identity.sparse_dimensions == sparse.dimensions == 507
    assert set(encoder.token_weights(*sparse[0]).values()) == {0.5}

    edit_json(path / "token_head.json", {"impact_step": 0})
    with pytest.raises(ModelError, match="'impact_step' should be above 0, and is 0"):
        identify(str(path))
    edit_json(path / "token_head.json", {"impact_step": 1, "weight": [0.0] * 63})
    with pytest.raises(ModelError, match="63 weights, and the model is 64 wide"):
        Encoder.load(str(path))
