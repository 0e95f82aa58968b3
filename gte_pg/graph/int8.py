"""A linear layer in 8-bit whole numbers: a scale per token, and one per output of the weight.

    values[t] ≈ scale[t] · q[t],  q uint8 around 128,   scale[t] = max |values[t]| / 127
    weight[o] ≈ scale[o] · w[o],  w int8,               scale[o] = max |weight[o]| / 127

A scale per token, and not one for all the values as `DynamicQuantizeLinear` has it: so a text's
vector does not depend on which texts are in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gte_pg.graph.linear import Linear
from gte_pg.graph.onnx_file import Array, GraphWriter

__all__ = ["int8_products"]

MICROSOFT = "com.microsoft"
LARGEST = 127
MIDDLE = 128
# A row of zeros is divided by this, not by zero.
SMALLEST_SCALE = 1e-12


def int8_products(graph: GraphWriter, values: str, layers: Sequence[Linear]) -> list[str]:
    """Multiply `[tokens, inputs]` by each weight; return their `[tokens, outputs]`."""
    scale = _token_scale(graph, values)
    middle = graph.constant(f"{values}.middle", np.array(MIDDLE, np.uint8))
    shape = graph.node("Shape", [scale], f"{values}/scale_shape")
    middles = graph.node("Expand", [middle, shape], f"{values}/middles")
    quantized = graph.node("QuantizeLinear", [values, scale, middles], f"{values}/q", axis=0)
    axis = graph.constant(f"{values}.scale_axis", np.array([1], np.int64))
    column = graph.node("Unsqueeze", [scale, axis], f"{values}/scale_column")
    return [_product(graph, quantized, middle, column, layer) for layer in layers]


def _product(graph: GraphWriter, quantized: str, middle: str, column: str, layer: Linear) -> str:
    name = layer.name
    whole, per_output = _quantized(layer.weight)
    one = graph.constant(f"{name}.one", np.array(1, np.float32))
    inputs = [
        quantized,
        graph.tensor(f"{name}.weight", whole),
        one,
        graph.tensor(f"{name}.scale", per_output),
        middle,
    ]
    unscaled = graph.node("MatMulIntegerToFloat", inputs, f"{name}/unscaled", domain=MICROSOFT)
    product = graph.node("Mul", [unscaled, column], f"{name}/product")
    if layer.bias is None:
        return product
    offset = graph.tensor(f"{name}.bias", layer.bias.astype(np.float32))
    return graph.node("Add", [product, offset], f"{name}/linear")


def _token_scale(graph: GraphWriter, values: str) -> str:
    """Return `[tokens]`: what one step of a token's quantized values is worth."""
    axis = graph.constant(f"{values}.inputs_axis", np.array([1], np.int64))
    sizes = graph.node("Abs", [values], f"{values}/sizes")
    largest = graph.node("ReduceMax", [sizes, axis], f"{values}/largest", keepdims=0)
    step = graph.constant(f"{values}.step", np.array(1 / LARGEST, np.float32))
    scale = graph.node("Mul", [largest, step], f"{values}/any_scale")
    smallest = graph.constant(f"{values}.smallest", np.array(SMALLEST_SCALE, np.float32))
    return graph.node("Max", [scale, smallest], f"{values}/scale")


def _quantized(weight: Array) -> tuple[Array, Array]:
    """Return int8[inputs, outputs] and float32[outputs]."""
    wide = weight.astype(np.float32)
    scale = np.maximum(np.abs(wide).max(axis=1) / LARGEST, SMALLEST_SCALE).astype(np.float32)
    whole = np.rint(wide / scale[:, None]).astype(np.int8)
    return whole.T, scale
