"""A model's ONNX graph on disk, built once and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from gte_pg.graph.names import GRAPH_FILE
from gte_pg.models.cache import filled
from gte_pg.models.content import content_digest
from gte_pg.models.directory import ModelDirectory

__all__ = ["PRECISION", "built_graph"]

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
    # A process that finds the graph in the cache does without the `onnx` package.
    from gte_pg.graph.assemble import assemble  # noqa: PLC0415

    assemble(directory, folder)
