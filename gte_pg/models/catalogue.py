"""The models that gte-pg knows by name, and what is fixed about each of them.

Everything that a declaration needs stands here, so that naming a model costs no I/O. A revision is
the commit of the model's repository on the Hugging Face hub: the files behind a name never change.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

from gte_pg.errors import ModelNotFound

__all__ = ["CATALOGUE", "KnownModel", "Pooling", "Precision", "find", "unknown"]

Pooling = Literal["cls", "mean"]
# float32 is exact; int8 is about twice as fast, and its vectors are another generation.
Precision = Literal["float32", "int8"]

ENGLISH_QUERY = "Represent this sentence for searching relevant passages: "
CHINESE_QUERY = "为这个句子生成表示以用于检索相关文章："


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model. `also` names forks whose weights are the same: they give the same vectors.

    Where `weights_sha256` is given, the token weights come from a head that gte-pg ships for these
    weights, not from the checkpoint.
    """

    name: str
    hub_id: str
    revision: str
    dimensions: int
    max_length: int
    pooling: Pooling
    licence: str
    query_instruction: str = ""
    elastic: tuple[int, int] | None = None
    sparse_dimensions: int | None = None
    weights_sha256: str | None = None
    also: tuple[str, ...] = ()


CATALOGUE: tuple[KnownModel, ...] = (
    KnownModel(
        name="gte-multilingual-base",
        hub_id="Alibaba-NLP/gte-multilingual-base",
        revision="9bbca17d9273fd0d03d5725c7a4b0f6b45142062",
        dimensions=768,
        max_length=8192,
        pooling="cls",
        licence="Apache-2.0",
        elastic=(128, 768),
        sparse_dimensions=250_048,
    ),
    KnownModel(
        name="gte-base-en-v1.5",
        hub_id="Alibaba-NLP/gte-base-en-v1.5",
        revision="a829fd0e060bb84554da0dfd354d0de0f7712b7f",
        dimensions=768,
        max_length=8192,
        pooling="cls",
        licence="Apache-2.0",
    ),
    KnownModel(
        name="gte-large-en-v1.5",
        hub_id="Alibaba-NLP/gte-large-en-v1.5",
        revision="104333d6af6f97649377c2afbde10a7704870c7b",
        dimensions=1024,
        max_length=8192,
        pooling="cls",
        licence="Apache-2.0",
    ),
    KnownModel(
        name="gte-small",
        hub_id="thenlper/gte-small",
        revision="17e1f347d17fe144873b1201da91788898c639cd",
        dimensions=384,
        max_length=512,
        pooling="mean",
        licence="MIT",
        also=("Supabase/gte-small",),
    ),
    KnownModel(
        name="gte-base",
        hub_id="thenlper/gte-base",
        revision="c078288308d8dee004ab72c6191778064285ec0c",
        dimensions=768,
        max_length=512,
        pooling="mean",
        licence="MIT",
    ),
    KnownModel(
        name="gte-large",
        hub_id="thenlper/gte-large",
        revision="4bef63f39fcc5e2d6b0aae83089f307af4970164",
        dimensions=1024,
        max_length=512,
        pooling="mean",
        licence="MIT",
    ),
    KnownModel(
        name="gte-small-zh",
        hub_id="thenlper/gte-small-zh",
        revision="af7bd46fbb00b3a6963c8dd7f1786ddfbfbe973a",
        dimensions=512,
        max_length=512,
        pooling="cls",
        licence="MIT",
    ),
    KnownModel(
        name="gte-base-zh",
        hub_id="thenlper/gte-base-zh",
        revision="71ab7947d6fac5b64aa299e6e40e6c2b2e85976c",
        dimensions=768,
        max_length=512,
        pooling="cls",
        licence="MIT",
    ),
    KnownModel(
        name="gte-large-zh",
        hub_id="thenlper/gte-large-zh",
        revision="64c364e579de308104a9b2c170ca009502f4f545",
        dimensions=1024,
        max_length=512,
        pooling="cls",
        licence="MIT",
    ),
    KnownModel(
        name="bge-small-en",
        hub_id="BAAI/bge-small-en",
        revision="2275a7bdee235e9b4f01fa73aa60d3311983cfea",
        dimensions=384,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
        also=("Supabase/bge-small-en",),
    ),
    KnownModel(
        name="bge-base-en",
        hub_id="BAAI/bge-base-en",
        revision="b737bf5dcc6ee8bdc530531266b4804a5d77b5d8",
        dimensions=768,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
    ),
    KnownModel(
        name="bge-large-en",
        hub_id="BAAI/bge-large-en",
        revision="abe7d9d814b775ca171121fb03f394dc42974275",
        dimensions=1024,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
    ),
    KnownModel(
        name="bge-small-en-v1.5",
        hub_id="BAAI/bge-small-en-v1.5",
        revision="5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        dimensions=384,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
    ),
    KnownModel(
        name="bge-base-en-v1.5",
        hub_id="BAAI/bge-base-en-v1.5",
        revision="a5beb1e3e68b9ab74eb54cfd186867f64f240e1a",
        dimensions=768,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
    ),
    KnownModel(
        name="bge-large-en-v1.5",
        hub_id="BAAI/bge-large-en-v1.5",
        revision="d4aa6901d3a41ba39fb536a557fa166f842b0e09",
        dimensions=1024,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=ENGLISH_QUERY,
    ),
    KnownModel(
        name="bge-small-zh-v1.5",
        hub_id="BAAI/bge-small-zh-v1.5",
        revision="7999e1d3359715c523056ef9478215996d62a620",
        dimensions=512,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=CHINESE_QUERY,
    ),
    KnownModel(
        name="bge-base-zh-v1.5",
        hub_id="BAAI/bge-base-zh-v1.5",
        revision="f03589ceff5aac7111bd60cfc7d497ca17ecac65",
        dimensions=768,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=CHINESE_QUERY,
    ),
    KnownModel(
        name="bge-large-zh-v1.5",
        hub_id="BAAI/bge-large-zh-v1.5",
        revision="79e7739b6ab944e86d6171e44d24c997fc1e0116",
        dimensions=1024,
        max_length=512,
        pooling="cls",
        licence="MIT",
        query_instruction=CHINESE_QUERY,
    ),
    KnownModel(
        name="all-MiniLM-L6-v2",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        revision="53aa51172d14",
        dimensions=384,
        max_length=256,
        pooling="mean",
        licence="Apache-2.0",
        sparse_dimensions=30_522,
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
)

BY_NAME = {
    spelling.lower(): model
    for model in CATALOGUE
    for spelling in (model.name, model.hub_id, *model.also)
}


def find(name: str) -> KnownModel | None:
    """Return the model of this short name or hub id, in any case; None for an unknown name."""
    return BY_NAME.get(name.strip().lower())


def unknown(name: str) -> ModelNotFound:
    """Return the error for what is neither known nor a directory, with near names if it is no path."""
    if name.startswith((".", "~", "/")) or name.count("/") > 1:
        return ModelNotFound(
            f"there is no model {name!r}: there is no such directory; give the path of a model's files, or "
            "a name that gte-pg models list has"
        )
    near = _near(name)
    names = near or [model.name for model in CATALOGUE]
    return ModelNotFound(
        f"there is no model {name!r}: it is neither a directory nor a known name "
        f"({'near' if near else 'known'} ones: {', '.join(names)}); give one of them or the path of a "
        "model's files"
    )


def _near(name: str) -> list[str]:
    close = difflib.get_close_matches(name.lower().split("/")[-1], BY_NAME, n=6, cutoff=0.6)
    return list(dict.fromkeys(BY_NAME[spelling].name for spelling in close))[:3]
