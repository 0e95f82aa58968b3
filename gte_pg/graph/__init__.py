"""A model's settings and weights as an ONNX graph: flat tokens in, hidden states out."""

from __future__ import annotations

from gte_pg.graph.cached import built_graph

__all__ = ["built_graph"]
