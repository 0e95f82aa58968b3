"""A layer's attention, from hidden states to the mix of values that its output layer takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gte_pg.graph.blocks import Blocks
from gte_pg.graph.linear import Linear
from gte_pg.graph.ragged import Ragged, attention, first_attention

__all__ = ["self_attention"]


def self_attention(
    blocks: Blocks,
    batch: Ragged,
    layer: str,
    hidden: str,
    *,
    qkv: Sequence[Linear],
    heads: int,
    turn: Callable[[str], str],
    firsts: bool,
) -> tuple[str, str]:
    """Return the hidden states that ask, and what each of them gets of its text.

    Those are all tokens `[tokens, width]`, or with `firsts` the first of each text
    `[texts, width]`. `qkv` are the three linear layers of queries, keys and values, and `turn`
    gives queries and keys their positions.
    """
    graph, name = blocks.graph, f"{layer}/attention"
    if not firsts:
        q, k, v = blocks.products(hidden, qkv)
        return hidden, attention(graph, batch, [turn(q), turn(k), v], name, heads=heads)
    asking = graph.node("Gather", [hidden, batch.firsts], f"{layer}/asking", axis=0)
    # No turn: the first token stands at position 0, where the angle is 0.
    (q,) = blocks.products(asking, qkv[:1])
    k, v = blocks.products(hidden, qkv[1:])
    return asking, first_attention(graph, batch, [q, turn(k), v], name, heads=heads)
