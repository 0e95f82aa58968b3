"""POST /v1/sparse: token weights, by the tokens' strings and as pgvector reads them.

{"model": "all-MiniLM-L6-v2", "input": "a text"}
→ {"data": [{"index": 0, "weights": {"text": 0.81}, "sparsevec": "{3794:0.81}/30522"}], …}
"""

from __future__ import annotations

import asyncio
import json

from gte_pg.encoder import Encoder
from gte_pg.search import as_pgvector
from gte_pg.serve.embeddings import encode_input, listed
from gte_pg.serve.fields import Fields
from gte_pg.serve.problem import Problem
from gte_pg.serve.service import Service
from gte_pg.serve.turns import EncodedText

__all__ = ["sparse"]


async def sparse(service: Service, fields: Fields) -> bytes:
    fields.only("model", "input", "input_type", "precision")
    encoding = await encode_input(service, fields)
    encoder = encoding.encoder
    if encoder.identity.sparse_dimensions is None:
        message = f"{encoding.model} gives no token weights; gte-pg models list shows which do"
        raise Problem(400, message, param="model")
    return await asyncio.to_thread(listed, encoding, lambda text: _item(encoder, text))


def _item(encoder: Encoder, text: EncodedText) -> str:
    assert text.encoded.sparse is not None
    tokens, values = text.encoded.sparse[text.row]
    weights = ", ".join(
        f"{json.dumps(token)}: {weight:.9g}"
        for token, weight in encoder.token_weights(tokens, values).items()
    )
    vector = as_pgvector(text.encoded, text.row).sparse
    return f'"weights": {{{weights}}}, "sparsevec": "{vector}"'
