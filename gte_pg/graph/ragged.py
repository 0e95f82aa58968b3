"""The shape of a batch, and attention over it.

Everything but attention works on one flat row of tokens, `[tokens, width]`: no padding is ever
multiplied. Attention alone sees texts, by gathering into `[texts, longest]` and back:

    tokens  int64[tokens]          token ids of all texts, one text after the other
    rows    int64[texts, longest]  which token stands where; -1 where a text is over
    places  int64[tokens]          where each token stands in `rows`, counted row by row

A lone long text takes onnxruntime's own attention, which never writes out the scores: at 8,192
tokens and 12 heads that is 0.2 GB instead of 3.2 GB and three times as fast. It takes no mask, and
for short texts the standard operator is three times faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper

from gte_pg.graph.onnx_file import GraphWriter

__all__ = ["INPUTS", "Ragged", "attention", "first_attention", "ragged"]

INPUTS: tuple[ValueInfoProto, ...] = (
    helper.make_tensor_value_info("tokens", TensorProto.INT64, ["T"]),
    helper.make_tensor_value_info("rows", TensorProto.INT64, ["B", "L"]),
    helper.make_tensor_value_info("places", TensorProto.INT64, ["T"]),
)
LONG = 256
# Far below any score, so that exp() of it is 0, and no infinity to make NaN of.
MASKED = -1e9


@dataclass(frozen=True, slots=True)
class Ragged:
    """Names of what every layer needs to know of the batch."""

    tokens: str
    rows: str
    places: str
    positions: str
    firsts: str
    mask: str
    first_mask: str
    lone_long: str
    flat_shape: str


def ragged(graph: GraphWriter, width: int) -> Ragged:
    """Compute, once a batch: each token's position in its text, and the mask over padding."""
    zero = graph.constant("zero", np.array([0], np.int64))
    one = graph.constant("one", np.array([1], np.int64))
    texts = graph.node("Shape", ["rows"], "texts", start=0, end=1)
    longest = graph.node("Shape", ["rows"], "longest", start=1, end=2)
    is_lone = graph.node("Equal", [texts, one], "is_lone")
    is_long = graph.node(
        "GreaterOrEqual", [longest, graph.constant("long", np.array([LONG], np.int64))], "is_long"
    )
    lone_long = graph.node("And", [is_lone, is_long], "lone_long")
    # The standard operator wants the mask once per query; the other one wants no mask.
    queries = graph.node("Where", [lone_long, one, longest], "queries")
    mask_shape = graph.node("Concat", [texts, one, queries, longest], "mask_shape", axis=0)
    present = graph.node("GreaterOrEqual", ["rows", zero], "present")
    penalty = graph.node(
        "Where",
        [
            present,
            graph.constant("seen", np.array([0], np.float32)),
            graph.constant("masked", np.array([MASKED], np.float32)),
        ],
        "penalty",
    )
    axes = graph.constant("mask_axes", np.array([1, 2], np.int64))
    penalties = graph.node("Unsqueeze", [penalty, axes], "penalties")
    return Ragged(
        tokens="tokens",
        rows="rows",
        places="places",
        positions=graph.node("Mod", ["places", longest], "positions"),
        firsts=graph.node(
            "Gather", ["rows", graph.constant("first", np.array(0, np.int64))], "firsts", axis=1
        ),
        mask=graph.node("Expand", [penalties, mask_shape], "mask"),
        first_mask=penalties,
        lone_long=graph.node("Squeeze", [lone_long], "is_lone_long"),
        flat_shape=graph.constant("flat_shape", np.array([-1, width], np.int64)),
    )


def attention(graph: GraphWriter, batch: Ragged, qkv: list[str], name: str, *, heads: int) -> str:
    """Let each token attend to its own text: q, k and v come in, and the mix goes out, flat."""
    padded = [graph.node("Gather", [flat, batch.rows], f"{flat}_padded", axis=0) for flat in qkv]
    mixed = graph.node(
        "If",
        [batch.lone_long],
        name,
        then_branch=_unmasked(padded, f"{name}_unmasked", heads),
        else_branch=_masked([*padded, batch.mask], f"{name}_masked", heads),
    )
    every = graph.node("Reshape", [mixed, batch.flat_shape], f"{name}_every")
    return graph.node("Gather", [every, batch.places], f"{name}_flat", axis=0)


def first_attention(
    graph: GraphWriter, batch: Ragged, qkv: list[str], name: str, *, heads: int
) -> str:
    """Let the first token of each text attend to its text: q is `[texts, width]`, k and v are flat,
    and so is the mix, `[texts, width]`.
    """
    axis = graph.constant(f"{name}_axis", np.array([1], np.int64))
    q = graph.node("Unsqueeze", [qkv[0], axis], f"{name}_q")
    k, v = (graph.node("Gather", [flat, batch.rows], f"{flat}_padded", axis=0) for flat in qkv[1:])
    mixed = f"{name}_mixed"
    inputs = [q, k, v, batch.first_mask]
    graph.node("Attention", inputs, mixed, q_num_heads=heads, kv_num_heads=heads)
    return graph.node("Squeeze", [mixed, axis], f"{name}_flat")


def _unmasked(inputs: list[str], output: str, heads: int) -> GraphProto:
    node = helper.make_node(
        "MultiHeadAttention", inputs, [output], domain="com.microsoft", num_heads=heads
    )
    return _branch(node, output)


def _masked(inputs: list[str], output: str, heads: int) -> GraphProto:
    node = helper.make_node("Attention", inputs, [output], q_num_heads=heads, kv_num_heads=heads)
    return _branch(node, output)


def _branch(node: NodeProto, output: str) -> GraphProto:
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph([node], output, [], [result])
