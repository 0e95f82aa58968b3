"""What `config.json` says of a transformer: sizes, and which of its variants it is.

Two architectures are computed: `bert`, and `new` (the GTE team's own, of gte-multilingual-base and
the v1.5 models). Whatever a config asks for that the graph does not compute is refused here by
name, never ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gte_pg.errors import ModelError
from gte_pg.models.json_file import JsonObject, read_object

__all__ = [
    "Architecture",
    "BertArchitecture",
    "NewArchitecture",
    "RopeScaling",
    "read_architecture",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Sizes that both architectures have. `positions` is the longest text in tokens."""

    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BertArchitecture(Architecture):
    """BERT: learnt absolute positions, separate q, k and v, a plain MLP."""


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """NTK scaling of the rotary base, so that longer texts than those of training keep apart."""

    factor: float
    mixed_b: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewArchitecture(Architecture):
    """`new`: rotary positions, packed q, k and v, a gated MLP, perhaps a token classifier."""

    rope_theta: float
    rope_scaling: RopeScaling | None
    pack_qkv: bool
    token_classifier: bool


def read_architecture(directory: Path) -> BertArchitecture | NewArchitecture:
    """Return the architecture in a model directory's `config.json`. Raises ModelError."""
    config = read_object(directory / "config.json")
    if not config.fields:
        raise ModelError(f"{config.path} is missing or empty; give a directory with a whole model")
    model_type = config.text("model_type", "")
    if model_type == "bert":
        return _bert(config)
    if model_type == "new":
        return _new(config)
    raise ModelError(
        f"{config.path}: model_type is {model_type!r}, which gte-pg does not support "
        "(it supports 'bert' and 'new'); choose another model"
    )


def _bert(config: JsonObject) -> BertArchitecture:
    config.one_of("hidden_act", "gelu", "gelu")
    config.one_of("position_embedding_type", "absolute", "absolute")
    if config.flag("is_decoder", default=False):
        raise config.wrong("is_decoder", "false: gte-pg runs encoders")
    return BertArchitecture(
        vocabulary=config.size("vocab_size"),
        hidden=config.size("hidden_size"),
        intermediate=config.size("intermediate_size"),
        layers=config.size("num_hidden_layers"),
        heads=_heads(config, divisor=1),
        positions=config.size("max_position_embeddings"),
        token_types=config.size("type_vocab_size", 2),
        epsilon=config.number("layer_norm_eps", 1e-12),
    )


def _new(config: JsonObject) -> NewArchitecture:
    config.one_of("hidden_act", "gelu", "gelu")
    config.one_of("position_embedding_type", "rope", "rope")
    config.one_of("layer_norm_type", "layer_norm", "layer_norm")
    if config.flag("logn_attention_scale", default=False):
        raise config.wrong("logn_attention_scale", "false, the only kind that gte-pg supports")
    theta = config.number("rope_theta", 10_000.0)
    if not theta > 0:
        raise config.wrong("rope_theta", "above 0")
    return NewArchitecture(
        vocabulary=config.size("vocab_size"),
        hidden=config.size("hidden_size"),
        intermediate=config.size("intermediate_size"),
        layers=config.size("num_hidden_layers"),
        heads=_heads(config, divisor=2),
        positions=config.size("max_position_embeddings"),
        token_types=config.size("type_vocab_size", 1)
        if config.fields.get("type_vocab_size")
        else 0,
        epsilon=config.number("layer_norm_eps", 1e-12),
        rope_theta=theta,
        rope_scaling=_rope_scaling(config),
        pack_qkv=config.flag("pack_qkv", default=True),
        token_classifier=_is_token_classifier(config),
    )


def _heads(config: JsonObject, *, divisor: int) -> int:
    """Rotary positions turn pairs of a head's values, so a head of `new` has an even width."""
    heads, hidden = config.size("num_attention_heads"), config.size("hidden_size")
    if hidden % (heads * divisor):
        raise config.wrong("num_attention_heads", f"a divisor of hidden_size {hidden}")
    return heads


def _rope_scaling(config: JsonObject) -> RopeScaling | None:
    scaling = config.object("rope_scaling")
    if scaling is None:
        return None
    scaling.one_of("type", "", "ntk")
    factor = scaling.number("factor", 1.0)
    if not factor > 0:
        raise scaling.wrong("factor", "above 0")
    mixed = scaling.fields.get("mixed_b")
    return RopeScaling(factor, None if mixed is None else scaling.number("mixed_b", 0.0))


def _is_token_classifier(config: JsonObject) -> bool:
    # A sequence classifier (a reranker) has a tensor of the same name, and it weighs no tokens.
    names = config.fields.get("architectures")
    return not (isinstance(names, list) and "NewForSequenceClassification" in names)
