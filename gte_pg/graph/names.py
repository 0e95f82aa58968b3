"""The names by which those who build a graph and those who run it know its parts."""

from __future__ import annotations

__all__ = ["GRAPH_FILE", "OUTPUT"]

GRAPH_FILE = "graph.onnx"
OUTPUT = "hidden"
