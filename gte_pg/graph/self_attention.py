"""A layer's attention, from hidden states to the mix of values that its output layer takes."""

from __future__ import annotations

from collections.abc import Callable

from gte_pg.graph.blocks import Blocks
from gte_pg.graph.onnx_file import Array
from gte_pg.graph.ragged import Ragged, attention, first_attention

__all__ = ["self_attention"]


def self_attention(
    blocks: Blocks,
    batch: Ragged,
    layer: str,
    hidden: str,
    *,
    packed: tuple[Array, Array],
    heads: int,
    turn: Callable[[str], str],
    firsts: bool,
) -> tuple[str, str]:
    """Return the hidden states that ask, and what each of them gets of its text.

    Those are all tokens `[tokens, width]`, or with `firsts` the first of each text
    `[texts, width]`. `packed` is the weight (3 · width, width) and bias of q, k and v, and `turn`
    gives q and k their positions.
    """
    graph, width, (weight, bias) = blocks.graph, blocks.width, packed
    q, k, v = (f"{layer}/{part}" for part in "qkv")
    name = f"{layer}/attention"
    if not firsts:
        together = blocks.product(hidden, f"{layer}.attention.packed", weight, bias)
        graph.split_node("Split", [together], [q, k, v], axis=-1, num_outputs=3)
        return hidden, attention(graph, batch, [turn(q), turn(k), v], name, heads=heads)
    asking = graph.node("Gather", [hidden, batch.firsts], f"{layer}/asking", axis=0)
    # No turn: the first token stands at position 0, where the angle is 0.
    query = blocks.product(asking, f"{layer}.attention.query", weight[:width], bias[:width])
    together = blocks.product(hidden, f"{layer}.attention.packed", weight[width:], bias[width:])
    graph.split_node("Split", [together], [k, v], axis=-1, num_outputs=2)
    return asking, first_attention(graph, batch, [query, turn(k), v], name, heads=heads)
