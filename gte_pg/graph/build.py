"""From a model's directory to a graph on disk, built once and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from onnx import TensorProto, helper

from gte_pg.graph.bert import bert
from gte_pg.graph.blocks import Blocks
from gte_pg.graph.new import new
from gte_pg.graph.onnx_file import GRAPH_FILE, GraphWriter
from gte_pg.graph.ragged import INPUTS, ragged
from gte_pg.models.architecture import BertArchitecture
from gte_pg.models.cache import filled
from gte_pg.models.content import content_digest
from gte_pg.models.directory import ModelDirectory
from gte_pg.models.weights import Weights

__all__ = ["OUTPUT", "PRECISION", "built_graph"]

OUTPUT = "hidden"
PRECISION = "float32"
# Raise it whenever the same files would give another graph.
VERSION = 1


def built_graph(directory: ModelDirectory) -> Path:
    """Return the path of the model's ONNX graph, from the cache or built now.

    Building reads and writes all weights: seconds for the largest model, in memory that one tensor
    takes. Raises ModelError where the weights do not fit the configuration.
    """
    entry = f"graphs/{content_digest(directory.path)[:32]}-{PRECISION}-{VERSION}"
    return filled(entry, lambda folder: _build(directory, folder)) / GRAPH_FILE


def _build(directory: ModelDirectory, folder: Path) -> None:
    model = directory.architecture
    with Weights(directory.path) as weights, GraphWriter(folder) as graph:
        batch = ragged(graph, model.hidden)
        blocks = Blocks(graph, weights, model.hidden, model.epsilon)
        if isinstance(model, BertArchitecture):
            hidden = bert(blocks, batch, model)
        else:
            hidden = new(blocks, batch, model)
        graph.node("Identity", [hidden], OUTPUT)
        output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["T", model.hidden])
        graph.save(INPUTS, [output])
