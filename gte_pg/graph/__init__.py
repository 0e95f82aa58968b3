"""A model's settings and weights as an ONNX graph: flat tokens in, hidden states out."""

from __future__ import annotations

from gte_pg.graph.build import PRECISION, built_graph
from gte_pg.graph.names import OUTPUT

__all__ = ["OUTPUT", "PRECISION", "built_graph"]
