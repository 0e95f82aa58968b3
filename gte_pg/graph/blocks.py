"""The parts that both architectures are made of, on flat tokens `[tokens, width]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from gte_pg.graph.int8 import int8_products
from gte_pg.graph.linear import Linear
from gte_pg.graph.onnx_file import GraphWriter
from gte_pg.models.catalogue import Precision
from gte_pg.models.weights import Weights

__all__ = ["Blocks"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """A graph, and the checkpoint that its parts take their weights from.

    `values` is always the name of a value in the graph, `layer` the name of tensors in the
    checkpoint without `.weight` and `.bias`, and `shape` the weight's: (outputs, inputs).
    """

    graph: GraphWriter
    weights: Weights
    width: int
    epsilon: float
    precision: Precision
    firsts_only: bool

    def word_embeddings(self, tokens: str, vocabulary: int) -> str:
        """Look each token up. A half-precision table stays so on disk and in memory: it is by far
        the largest tensor, and widening after the look-up gives the same numbers.
        """
        name = "embeddings.word_embeddings.weight"
        table = self.weights.tensor(name, (vocabulary, self.width))
        inputs = [self.graph.tensor(name, table), tokens]
        words = self.graph.node("Gather", inputs, "embeddings/words", axis=0)
        if table.dtype == np.float32:
            return words
        return self.graph.node("Cast", [words], "embeddings/wide_words", to=TensorProto.FLOAT)

    def linear(self, values: str, layer: str, shape: tuple[int, int]) -> str:
        (product,) = self.products(values, [self.linear_layer(layer, shape)])
        return product

    def linear_layer(self, layer: str, shape: tuple[int, int], *, bias: bool = True) -> Linear:
        weight = self.weights.tensor(f"{layer}.weight", shape)
        offset = self.weights.tensor(f"{layer}.bias", shape[:1]) if bias else None
        return Linear(layer, weight, offset)

    def layer_norm(self, values: str, layer: str) -> str:
        inputs = [values]
        for name in (f"{layer}.weight", f"{layer}.bias"):
            tensor = self.weights.tensor(name, (self.width,))
            inputs.append(self.graph.tensor(name, tensor.astype(np.float32)))
        return self.graph.node(
            "LayerNormalization", inputs, f"{layer}/normal", axis=-1, epsilon=self.epsilon
        )

    def products(self, values: str, layers: Sequence[Linear]) -> list[str]:
        """Add linear layers of the same values. One wide product would have to be cut apart again,
        which copies it: several are faster.
        """
        if self.precision == "int8":
            return int8_products(self.graph, values, layers)
        return [self._product(values, layer) for layer in layers]

    def _product(self, values: str, layer: Linear) -> str:
        name, graph = layer.name, self.graph
        inputs = [values, graph.tensor(f"{name}.weight", layer.weight.astype(np.float32))]
        if layer.bias is not None:
            inputs.append(graph.tensor(f"{name}.bias", layer.bias.astype(np.float32)))
        # transB: the weight as stored, (outputs, inputs), without a transposed copy.
        return graph.node("Gemm", inputs, f"{name}/linear", transB=1)
