"""Directories with an ONNX graph that somebody else exported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from gte_pg.encoder import Encoder
from gte_pg.errors import ModelError, ModelNotFound

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
HIDDEN, VOCABULARY = 64, 507


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)


def directory(tmp_path: Path, table: np.ndarray, *, output: str = "last_hidden_state") -> Path:
    """A model whose hidden state is its word embedding: pooling and padding show at once."""
    folder = tmp_path / "exported"
    shutil.copytree(GOLDEN / "bert_mean", folder, ignore=shutil.ignore_patterns("*.safetensors"))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], [output])],
        "exported",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["texts", "tokens"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["texts", "tokens", HIDDEN])],
        [numpy_helper.from_array(table, "table")],
    )
    (folder / "onnx").mkdir()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "onnx" / "model.onnx")
    return folder


def test_a_ready_made_graph_is_run_and_pooled(tmp_path: Path, table: np.ndarray) -> None:
    encoder = Encoder.load(str(directory(tmp_path, table)))
    texts = ["cat", "A database keeps rows and columns in order.", "a"]
    encoded = encoder.encode(texts)
    assert encoded.sparse is None
    for index, text in enumerate(texts):
        ids = encoder._tokenizer.tokenize([text], 512)[0].ids
        mean = table[np.array(ids)].mean(axis=0)
        expected = mean / np.linalg.norm(mean)
        np.testing.assert_allclose(encoded.dense[index], expected, atol=1e-6)


def test_an_output_by_another_name_is_found(tmp_path: Path, table: np.ndarray) -> None:
    named = Encoder.load(str(directory(tmp_path, table, output="hidden_states")))
    assert named.encode(["cat"]).dense.shape == (1, HIDDEN)


def test_the_precision_that_is_not_there(tmp_path: Path, table: np.ndarray) -> None:
    with pytest.raises(ModelNotFound, match="model_quantized.onnx"):
        Encoder.load(str(directory(tmp_path, table)), precision="int8")


def test_a_cut_file_is_refused(tmp_path: Path, table: np.ndarray) -> None:
    folder = directory(tmp_path, table)
    graph = folder / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(ModelError, match="model.onnx"):
        Encoder.load(str(folder))
