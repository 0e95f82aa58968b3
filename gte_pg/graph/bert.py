"""BERT as an ONNX graph: learnt positions, a plain MLP, every residual normalised after it."""

from __future__ import annotations

import numpy as np

from gte_pg.graph.blocks import Blocks
from gte_pg.graph.ragged import Ragged
from gte_pg.graph.self_attention import self_attention
from gte_pg.models.architecture import BertArchitecture

__all__ = ["bert"]


def bert(blocks: Blocks, batch: Ragged, model: BertArchitecture) -> str:
    """Add the whole model; return the name of its last hidden state, `[tokens, hidden]`, or
    `[texts, hidden]` where only the first token of each text is wanted.
    """
    hidden = _embeddings(blocks, batch, model)
    for index in range(model.layers):
        layer = f"encoder.layer.{index}"
        last = index == model.layers - 1
        firsts = last and blocks.firsts_only
        hidden = _attention(blocks, batch, model, layer, hidden, firsts=firsts)
        hidden = _mlp(blocks, model, layer, hidden)
    return hidden


def _embeddings(blocks: Blocks, batch: Ragged, model: BertArchitecture) -> str:
    graph, tensor = blocks.graph, blocks.weights.tensor
    words = blocks.word_embeddings(batch.tokens, model.vocabulary)
    positions = tensor("embeddings.position_embeddings.weight", (model.positions, model.hidden))
    # Every token is of type 0, so that type's vector is part of every position.
    types = tensor("embeddings.token_type_embeddings.weight", (model.token_types, model.hidden))
    table = positions.astype(np.float32) + types[0].astype(np.float32)
    inputs = [graph.tensor("embeddings.positions", table), batch.positions]
    position = graph.node("Gather", inputs, "embeddings/positions", axis=0)
    total = graph.node("Add", [words, position], "embeddings/total")
    return blocks.layer_norm(total, "embeddings.LayerNorm")


def _attention(
    blocks: Blocks,
    batch: Ragged,
    model: BertArchitecture,
    layer: str,
    hidden: str,
    *,
    firsts: bool,
) -> str:
    square = (model.hidden, model.hidden)
    parts = [f"{layer}.attention.self.{part}" for part in ("query", "key", "value")]
    qkv = [blocks.linear_layer(part, square) for part in parts]
    asking, attended = self_attention(
        blocks,
        batch,
        layer,
        hidden,
        qkv=qkv,
        heads=model.heads,
        turn=lambda values: values,  # positions are in the embeddings
        firsts=firsts,
    )
    mixed = blocks.linear(attended, f"{layer}.attention.output.dense", square)
    total = blocks.graph.node("Add", [mixed, asking], f"{layer}/attention_residual")
    return blocks.layer_norm(total, f"{layer}.attention.output.LayerNorm")


def _mlp(blocks: Blocks, model: BertArchitecture, layer: str, hidden: str) -> str:
    graph, wide = blocks.graph, (model.intermediate, model.hidden)
    grown = blocks.linear(hidden, f"{layer}.intermediate.dense", wide)
    active = graph.node("Gelu", [grown], f"{layer}/active", approximate="none")
    shrunk = blocks.linear(active, f"{layer}.output.dense", wide[::-1])
    total = graph.node("Add", [shrunk, hidden], f"{layer}/mlp_residual")
    return blocks.layer_norm(total, f"{layer}.output.LayerNorm")
