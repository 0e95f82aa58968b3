"""POST /v1/embeddings: dense vectors, as OpenAI's API gives them.

{"model": "all-MiniLM-L6-v2", "input": ["a text"], "input_type": "query"}

Beyond OpenAI's fields: `input_type`, "document" (the default) or "query", for models that tell the two
apart, and `precision`. The answer's `truncated` lists the texts that were longer than the model reads.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder import Encoder
from gte_pg.encoder.encoder import Kind
from gte_pg.models.catalogue import Precision
from gte_pg.serve.fields import Fields
from gte_pg.serve.service import Service
from gte_pg.serve.turns import EncodedText

__all__ = ["Encoding", "embeddings", "encode_input", "listed"]

MOST_DIMENSIONS = 16_000  # pgvector's own limit


@dataclass(frozen=True, slots=True)
class Encoding:
    """The texts of a request, encoded, and the model as the request named it."""

    model: str
    encoder: Encoder
    texts: Sequence[EncodedText]


async def embeddings(service: Service, fields: Fields) -> bytes:
    # OpenAI's clients may send fields that mean nothing here, such as `user`: they are ignored.
    form = fields.choice("encoding_format", "float", of=("float", "base64"))
    dimensions = fields.whole("dimensions", None, most=MOST_DIMENSIONS)
    encoding = await encode_input(service, fields, dimensions)
    write = _base64 if form == "base64" else _floats
    return await asyncio.to_thread(listed, encoding, lambda text: _item(text, write))


async def encode_input(service: Service, fields: Fields, dimensions: int | None = None) -> Encoding:
    """Encode a request's `input` with its `model`, as its `input_type` and `precision` say."""
    texts, model = fields.texts("input"), fields.text("model")
    kind = cast("Kind", fields.choice("input_type", "document", of=("document", "query")))
    precision = fields.choice("precision", "float32", of=("float32", "int8"))
    encoder = await service.models.asked_for(model, cast("Precision", precision))
    found = await service.turns.encode(texts, encoder, kind=kind, dimensions=dimensions)
    return Encoding(model, encoder, found)


def listed(encoding: Encoding, item: Callable[[EncodedText], str]) -> bytes:
    """Return a list in OpenAI's shape; `item` returns a text's own fields, as in '"a": 1, "b": 2'."""
    tokens = sum(text.tokens for text in encoding.texts)
    data = ", ".join(
        f'{{"index": {index}, {item(text)}}}' for index, text in enumerate(encoding.texts)
    )
    rest = {
        "model": encoding.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "truncated": [index for index, text in enumerate(encoding.texts) if text.truncated],
    }
    return f'{{"object": "list", "data": [{data}], {json.dumps(rest)[1:]}'.encode()


def _item(text: EncodedText, write: Callable[[NDArray[np.float32]], str]) -> str:
    return f'"object": "embedding", "embedding": {write(text.encoded.dense[text.row])}'


def _floats(vector: NDArray[np.float32]) -> str:
    # Nine digits tell any two float32 apart.
    return f"[{', '.join([f'{value:.9g}' for value in vector.tolist()])}]"


def _base64(vector: NDArray[np.float32]) -> str:
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'
