"""The GTE team's `new` architecture as an ONNX graph: rotary positions and a gated MLP.

Source: `modeling.py` ("new-impl") of Alibaba-NLP/gte-multilingual-base.
"""

from __future__ import annotations

import numpy as np

from gte_pg.graph.blocks import Blocks
from gte_pg.graph.linear import Linear
from gte_pg.graph.ragged import Ragged
from gte_pg.graph.rotary import rotary_tables
from gte_pg.graph.self_attention import self_attention
from gte_pg.models.architecture import NewArchitecture

__all__ = ["new"]


def new(blocks: Blocks, batch: Ragged, model: NewArchitecture) -> str:
    """Add the whole model; return the name of its last hidden state, `[tokens, hidden]`, or
    `[texts, hidden]` where only the first token of each text is wanted.
    """
    rotary = _rotary(blocks, batch, model)
    hidden = _embeddings(blocks, batch, model)
    for index in range(model.layers):
        layer = f"encoder.layer.{index}"
        last = index == model.layers - 1
        firsts = last and blocks.firsts_only
        hidden = _attention(blocks, batch, model, layer, hidden, rotary=rotary, firsts=firsts)
        hidden = _mlp(blocks, model, layer, hidden)
    return hidden


def _rotary(blocks: Blocks, batch: Ragged, model: NewArchitecture) -> list[str]:
    """Return the names of what a rotation needs beside its values: cosines, sines, positions."""
    graph, head = blocks.graph, model.hidden // model.heads
    cosines, sines = rotary_tables(model.positions, head, model.rope_theta, model.rope_scaling)
    axis = graph.constant("rotary_axis", np.array([1], np.int64))
    positions = graph.node("Unsqueeze", [batch.positions, axis], "rotary_positions")
    return [graph.tensor("cosines", cosines), graph.tensor("sines", sines), positions]


def _embeddings(blocks: Blocks, batch: Ragged, model: NewArchitecture) -> str:
    graph = blocks.graph
    total = blocks.word_embeddings(batch.tokens, model.vocabulary)
    if model.token_types:
        name = "embeddings.token_type_embeddings.weight"
        types = blocks.weights.tensor(name, (model.token_types, model.hidden))
        # Every token is of type 0.
        first = graph.tensor("embeddings.first_type", types[0].astype(np.float32))
        total = graph.node("Add", [total, first], "embeddings/total")
    return blocks.layer_norm(total, "embeddings.LayerNorm")


def _attention(
    blocks: Blocks,
    batch: Ragged,
    model: NewArchitecture,
    layer: str,
    hidden: str,
    *,
    rotary: list[str],
    firsts: bool,
) -> str:
    asking, attended = self_attention(
        blocks,
        batch,
        layer,
        hidden,
        qkv=_qkv(blocks, model, layer),
        heads=model.heads,
        turn=lambda values: _turn(blocks, values, rotary, model.heads),
        firsts=firsts,
    )
    mixed = blocks.linear(attended, f"{layer}.attention.o_proj", (model.hidden, model.hidden))
    total = blocks.graph.node("Add", [asking, mixed], f"{layer}/attention_residual")
    return blocks.layer_norm(total, f"{layer}.attn_ln")


def _qkv(blocks: Blocks, model: NewArchitecture, layer: str) -> list[Linear]:
    width = model.hidden
    names = [f"{layer}.attention.{part}_proj" for part in "qkv"]
    if model.pack_qkv:
        packed = blocks.linear_layer(f"{layer}.attention.qkv_proj", (3 * width, width))
        return packed.split(*names)
    return [blocks.linear_layer(name, (width, width)) for name in names]


def _turn(blocks: Blocks, values: str, rotary: list[str], heads: int) -> str:
    """Turn q or k. The operator wants texts, so every token passes as a text of one token: what
    counts is its position.
    """
    graph = blocks.graph
    texts = graph.node("Unsqueeze", [values, "rotary_axis"], f"{values}_texts")
    turned = graph.node("RotaryEmbedding", [texts, *rotary], f"{values}_turned", num_heads=heads)
    return graph.node("Squeeze", [turned, "rotary_axis"], f"{values}_flat")


def _mlp(blocks: Blocks, model: NewArchitecture, layer: str, hidden: str) -> str:
    """`down(gelu(gate) · up)`: the first half of the packed projection is up, the second gate."""
    graph, width, inner = blocks.graph, model.hidden, model.intermediate
    name = f"{layer}.mlp.up_gate_proj"
    packed = blocks.linear_layer(name, (2 * inner, width), bias=False)
    up, gate = blocks.products(hidden, packed.split(f"{layer}.mlp.up", f"{layer}.mlp.gate"))
    active = graph.node("Gelu", [gate], f"{layer}/active", approximate="none")
    gated = graph.node("Mul", [active, up], f"{layer}/gated")
    shrunk = blocks.linear(gated, f"{layer}.mlp.down_proj", (width, inner))
    total = graph.node("Add", [hidden, shrunk], f"{layer}/mlp_residual")
    return blocks.layer_norm(total, f"{layer}.mlp_ln")
