"""From a model's directory to a graph on disk, built once and kept in the cache."""

from __future__ import annotations

from pathlib import Path

from gte_pg.models.built import built_entry
from gte_pg.models.cache import filled
from gte_pg.models.catalogue import Precision
from gte_pg.models.directory import ModelDirectory

__all__ = ["GRAPH_FILE", "built_graph"]

GRAPH_FILE = "graph.onnx"
# Raise it whenever the same files would give another graph.
VERSION = 3


def built_graph(directory: ModelDirectory, precision: Precision, *, firsts_only: bool) -> Path:
    """Return the path of the model's ONNX graph, from the cache or built now.

    Building reads and writes all weights: seconds for the largest model, in memory that one tensor
    takes. With `firsts_only` the graph's output is that of each text's first token, and the last
    layer computes no other. Raises ModelError where the weights do not fit the configuration.
    """

    def fill(folder: Path) -> None:
        # Imported here: it needs onnx, which what is built already does without.
        from gte_pg.graph.build import build  # noqa: PLC0415

        build(directory, folder / GRAPH_FILE, precision, firsts_only=firsts_only)

    variant = f"{precision}-{'firsts' if firsts_only else 'tokens'}-{VERSION}"
    return filled(built_entry("graphs", directory.path, variant), fill) / GRAPH_FILE
