"""Models of real size with random weights: speed and memory do not depend on what a model knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

HIDDEN, INNER, LAYERS, HEADS = 768, 3072, 12, 12
MULTILINGUAL_VOCABULARY = 250_048


def random_base(directory: Path) -> None:
    """Turn a copy of all-MiniLM-L6-v2 into a BERT of gte-base's size; its tokenizer stays."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config |= {"hidden_size": HIDDEN, "intermediate_size": INNER}
    config |= {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    path.write_text(json.dumps(config))
    pooling = directory / "1_Pooling" / "config.json"
    pooling.write_text(
        json.dumps(json.loads(pooling.read_text()) | {"word_embedding_dimension": HIDDEN})
    )
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], HIDDEN),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], HIDDEN),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
        "pooler.dense.weight": (HIDDEN, HIDDEN),
        "pooler.dense.bias": (HIDDEN,),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        square = [f"attention.self.{part}" for part in ("query", "key", "value")]
        for name in (*square, "attention.output.dense"):
            shapes |= linear(f"{layer}.{name}", HIDDEN, HIDDEN)
        shapes |= linear(f"{layer}.intermediate.dense", INNER, HIDDEN)
        shapes |= linear(f"{layer}.output.dense", HIDDEN, INNER)
        for name in ("attention.output", "output"):
            norm = f"{layer}.{name}.LayerNorm"
            shapes |= {f"{norm}.weight": (HIDDEN,), f"{norm}.bias": (HIDDEN,)}
    save_file(random_tensors(shapes, np.float32), directory / "model.safetensors", {"format": "pt"})


def random_multilingual(directory: Path) -> None:
    """Write settings and weights of gte-multilingual-base's size (half precision, as published)
    into a directory that has a tokenizer.
    """
    config = {
        "model_type": "new",
        "architectures": ["NewForTokenClassification"],
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "vocab_size": MULTILINGUAL_VOCABULARY,
        "max_position_embeddings": 8192,
        "type_vocab_size": 1,
        "rope_theta": 20_000,
        "rope_scaling": {"type": "ntk", "factor": 8.0},
    }
    (directory / "config.json").write_text(json.dumps(config))
    shapes = {
        "embeddings.word_embeddings.weight": (MULTILINGUAL_VOCABULARY, HIDDEN),
        "embeddings.token_type_embeddings.weight": (1, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
    }
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        shapes |= linear(f"{layer}.attention.qkv_proj", 3 * HIDDEN, HIDDEN)
        shapes |= linear(f"{layer}.attention.o_proj", HIDDEN, HIDDEN)
        shapes |= {f"{layer}.mlp.up_gate_proj.weight": (2 * INNER, HIDDEN)}
        shapes |= linear(f"{layer}.mlp.down_proj", HIDDEN, INNER)
        for norm in ("attn_ln", "mlp_ln"):
            shapes |= {f"{layer}.{norm}.weight": (HIDDEN,), f"{layer}.{norm}.bias": (HIDDEN,)}
    tensors = {f"new.{k}": v for k, v in random_tensors(shapes, np.float16).items()}
    tensors |= random_tensors(linear("classifier", 1, HIDDEN), np.float16)
    save_file(tensors, directory / "model.safetensors")


def linear(name: str, outputs: int, inputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def random_tensors(
    shapes: dict[str, tuple[int, ...]], kind: type[np.floating]
) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    tensors = {}
    for name, shape in shapes.items():
        values = random.standard_normal(shape, np.float32) * np.float32(0.03)
        if name.endswith(("LayerNorm.weight", "ln.weight")):
            values += 1
        tensors[name] = values.astype(kind)
    return tensors
