"""ONNX files that others exported: here one written with `onnx`, which counts on its inputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gte_pg.encoder import Encoder
from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models import identify
from tests.encoder.conftest import Copy

WIDTH, VOCABULARY = 64, 507
WORDS = np.random.default_rng(3).standard_normal((VOCABULARY, WIDTH)).astype(np.float32)


def write_graph(
    path: Path,
    *,
    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids"),
    width: int = WIDTH,
    output: str = "last_hidden_state",
) -> None:
    """hidden = words[input_ids] + Σ over the row's tokens that the mask keeps of words / 10"""
    ids = "input_ids" if "input_ids" in inputs else inputs[0]
    nodes = [
        helper.make_node("Gather", ["words", ids], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "axis"], ["column"]),
        helper.make_node("Mul", ["each", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "row"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "tenth"], ["share"]),
        helper.make_node("Add", ["each", "share"], [output]),
    ]
    constants: dict[str, np.ndarray] = {
        "words": WORDS[:, :width],
        "axis": np.array([2], np.int64),
        "row": np.array([1], np.int64),
        "tenth": np.array(0.1, np.float32),
    }
    shape = ["texts", "tokens"]
    graph = helper.make_graph(
        nodes,
        "exported",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*shape, width])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(exist_ok=True)
    onnx.save(model, path)


@pytest.fixture
def directory(copy_of: Copy) -> Path:
    path = copy_of("bert_mean")
    (path / "model.safetensors").unlink()
    write_graph(path / "onnx" / "model.onnx")
    return path


def expected(encoder: Encoder, text: str) -> np.ndarray:
    ids = encoder._tokenizer.tokenize([text], 128)[0].ids
    hidden = WORDS[ids] + WORDS[ids].sum(axis=0) / 10
    mean = hidden.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean))


def test_texts_are_padded_and_masked(directory: Path) -> None:
    encoder = Encoder.load(str(directory))
    texts = ["a cat", "the cat sat on the mat", "", "a"]
    found = encoder.encode(texts)
    assert found.sparse is None
    for text, vector in zip(texts, found.dense, strict=True):
        np.testing.assert_allclose(vector, expected(encoder, text), atol=1e-5)


def test_inputs_are_read_from_the_graph(directory: Path) -> None:
    path = directory / "onnx" / "model.onnx"
    before = Encoder.load(str(directory)).encode(["a cat"]).dense
    write_graph(path, inputs=("attention_mask", "input_ids"), output="hidden")
    np.testing.assert_array_equal(Encoder.load(str(directory)).encode(["a cat"]).dense, before)


def test_the_quantized_graph_is_int8_and_gets_each_text_alone(directory: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"has no onnx/model_quantized.onnx, only onnx/model"):
        Encoder.load(str(directory), precision="int8")
    shutil.move(directory / "onnx" / "model.onnx", directory / "onnx" / "model_quantized.onnx")
    encoder = Encoder.load(str(directory), precision="int8")
    assert encoder._session.budget == 0
    found = encoder.encode(["a cat", "the cat sat"]).dense
    np.testing.assert_allclose(found[0], expected(encoder, "a cat"), atol=1e-5)


def test_the_graph_decides_the_fingerprint(directory: Path) -> None:
    before = identify(str(directory)).fingerprint
    write_graph(directory / "onnx" / "model.onnx", output="hidden")
    assert identify(str(directory)).fingerprint != before


def test_safetensors_win(copy_of: Copy) -> None:
    path = copy_of("bert_mean")
    before = identify(str(path)).fingerprint
    write_graph(path / "onnx" / "model.onnx")
    assert identify(str(path)).fingerprint == before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"inputs": ("pixel_values", "attention_mask")}, "takes the inputs pixel_values"),
        ({"width": 32}, "no hidden state"),
    ],
)
def test_a_graph_that_is_no_such_encoder(
    directory: Path, wrong: dict[str, object], message: str
) -> None:
    write_graph(directory / "onnx" / "model.onnx", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=message):
        Encoder.load(str(directory))


def test_a_cut_graph(directory: Path) -> None:
    path = directory / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        Encoder.load(str(directory))
