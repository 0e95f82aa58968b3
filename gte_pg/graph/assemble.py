"""From a model's settings and weights to the file of a graph. Only here is `onnx` itself loaded."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

from gte_pg.graph.bert import bert
from gte_pg.graph.blocks import Blocks
from gte_pg.graph.names import OUTPUT
from gte_pg.graph.new import new
from gte_pg.graph.onnx_file import GraphWriter
from gte_pg.graph.ragged import INPUTS, ragged
from gte_pg.models.architecture import BertArchitecture
from gte_pg.models.directory import ModelDirectory
from gte_pg.models.weights import Weights

__all__ = ["assemble"]


def assemble(directory: ModelDirectory, folder: Path) -> None:
    """Write the model's graph and its weights into a folder."""
    model = directory.architecture
    with Weights(directory.path) as weights, GraphWriter(folder) as graph:
        batch = ragged(graph, model.hidden)
        blocks = Blocks(graph, weights, model.hidden, model.epsilon)
        if isinstance(model, BertArchitecture):
            hidden = bert(blocks, batch, model)
        else:
            hidden = new(blocks, batch, model)
        graph.node("Identity", [hidden], OUTPUT)
        declared = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["T", model.hidden])
        graph.save(INPUTS, [declared])
