"""A linear layer: `values · weightᵀ + bias`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gte_pg.graph.onnx_file import Array

__all__ = ["Linear"]


@dataclass(frozen=True, slots=True)
class Linear:
    """A weight (outputs, inputs), a bias (outputs) or none, and the name both have in the graph."""

    name: str
    weight: Array
    bias: Array | None

    def split(self, *names: str) -> list[Linear]:
        """Cut it into layers that each give an equal part of the outputs, in their order."""
        weights = np.split(self.weight, len(names))
        biases = [None] * len(names) if self.bias is None else np.split(self.bias, len(names))
        return [Linear(*layer) for layer in zip(names, weights, biases, strict=True)]
