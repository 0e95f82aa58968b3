"""A linear layer in 8-bit whole numbers: a scale per token, and one per output of the weight.

    values[t] ≈ scale[t] · q[t],  q uint8 around 128,   scale[t] = max |values[t]| / 127
    weight[o] ≈ scale[o] · w[o],  w int8,               scale[o] = max |weight[o]| / 127

A scale per token, and not one for all the values as `DynamicQuantizeLinear` has it: so a text's
vector does not depend on which texts are in its batch.
"""

from __future__ import annotations

import numpy as np

from gte_pg.graph.onnx_file import Array, GraphWriter

__all__ = ["int8_linear"]

MICROSOFT = "com.microsoft"
LARGEST = 127
MIDDLE = 128
# A row of zeros is divided by this, not by zero.
SMALLEST_SCALE = 1e-12


def int8_linear(
    graph: GraphWriter, values: str, name: str, weight: Array, bias: Array | None
) -> str:
    """Multiply `[tokens, inputs]` by a weight (outputs, inputs); return `[tokens, outputs]`."""
    scale = _token_scale(graph, values, name)
    middle = graph.constant(f"{name}.middle", np.array(MIDDLE, np.uint8))
    shape = graph.node("Shape", [scale], f"{name}/scale_shape")
    middles = graph.node("Expand", [middle, shape], f"{name}/middles")
    quantized = graph.node("QuantizeLinear", [values, scale, middles], f"{name}/q", axis=0)
    whole, per_output = _quantized(weight)
    one = graph.constant(f"{name}.one", np.array(1, np.float32))
    inputs = [
        quantized,
        graph.tensor(f"{name}.weight", whole),
        one,
        graph.tensor(f"{name}.scale", per_output),
        middle,
    ]
    unscaled = graph.node("MatMulIntegerToFloat", inputs, f"{name}/unscaled", domain=MICROSOFT)
    axis = graph.constant(f"{name}.axis", np.array([1], np.int64))
    column = graph.node("Unsqueeze", [scale, axis], f"{name}/scale_column")
    product = graph.node("Mul", [unscaled, column], f"{name}/product")
    if bias is None:
        return product
    offset = graph.tensor(f"{name}.bias", bias.astype(np.float32))
    return graph.node("Add", [product, offset], f"{name}/linear")


def _token_scale(graph: GraphWriter, values: str, name: str) -> str:
    """Return `[tokens]`: what one step of a token's quantized values is worth."""
    axis = graph.constant(f"{name}.inputs_axis", np.array([1], np.int64))
    sizes = graph.node("Abs", [values], f"{name}/sizes")
    largest = graph.node("ReduceMax", [sizes, axis], f"{name}/largest", keepdims=0)
    step = graph.constant(f"{name}.step", np.array(1 / LARGEST, np.float32))
    scale = graph.node("Mul", [largest, step], f"{name}/any_scale")
    smallest = graph.constant(f"{name}.smallest", np.array(SMALLEST_SCALE, np.float32))
    return graph.node("Max", [scale, smallest], f"{name}/scale")


def _quantized(weight: Array) -> tuple[Array, Array]:
    """Return int8[inputs, outputs] and float32[outputs]."""
    wide = weight.astype(np.float32)
    scale = np.maximum(np.abs(wide).max(axis=1) / LARGEST, SMALLEST_SCALE).astype(np.float32)
    whole = np.rint(wide / scale[:, None]).astype(np.int8)
    return whole.T, scale
