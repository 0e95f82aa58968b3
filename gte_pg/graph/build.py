"""Building a model's graph and writing it down."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

from gte_pg.graph.bert import bert
from gte_pg.graph.blocks import Blocks
from gte_pg.graph.new import new
from gte_pg.graph.onnx_file import GraphWriter
from gte_pg.graph.ragged import INPUTS, ragged
from gte_pg.models.architecture import BertArchitecture
from gte_pg.models.catalogue import Precision
from gte_pg.models.directory import ModelDirectory
from gte_pg.models.weights import Weights

__all__ = ["build"]

OUTPUT = "hidden"


def build(
    directory: ModelDirectory, path: Path, precision: Precision, *, firsts_only: bool
) -> None:
    """Write the graph to `path` and its weights to a file beside it.

    The output is the last hidden state, float32[tokens, hidden], or with `firsts_only`
    float32[texts, hidden] of each text's first token. Raises ModelError.
    """
    model = directory.architecture
    with Weights(directory.path) as weights, GraphWriter(path) as graph:
        batch = ragged(graph, model.hidden)
        blocks = Blocks(graph, weights, model.hidden, model.epsilon, precision, firsts_only)
        if isinstance(model, BertArchitecture):
            hidden = bert(blocks, batch, model)
        else:
            hidden = new(blocks, batch, model)
        graph.node("Identity", [hidden], OUTPUT)
        rows = "B" if firsts_only else "T"
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [rows, model.hidden])
        graph.save(INPUTS, [output])
