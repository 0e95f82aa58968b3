"""POST /search: the best rows of a table for a text; POST /vectors: that text as `gte.search` takes it.

{"table": "articles", "query": "cheap flights", "k": 10} → {"rows": [{"key": {"id": 7}, "score": …}, …]}
{"table": "articles", "query": "cheap flights"} → {"dense": "[…]", "sparse": "{…}/30522"}

A search runs with the rights of the server's own role; with the vectors a client searches with its own.
"""

from __future__ import annotations

import dataclasses
import json

from gte_pg.database import Registered, load
from gte_pg.search import MOST_INDEXED_ROWS, QueryVectors, Weights, as_pgvector
from gte_pg.search import search as run_search
from gte_pg.serve.fields import Fields
from gte_pg.serve.problem import Problem
from gte_pg.serve.service import Service

__all__ = ["search", "vectors"]


async def search(service: Service, fields: Fields) -> bytes:
    fields.only("table", "query", "embedding", "k", "dense_weight", "sparse_weight", "exact")
    # More rows than the indexes bring are a scan and a large answer: SQL is the place for them.
    limit = fields.whole("k", 10, most=MOST_INDEXED_ROWS)
    assert limit is not None
    weights = Weights(fields.number("dense_weight", 1.0), fields.number("sparse_weight", 0.1))
    exact = fields.flag("exact")
    registered, query = await _encoded_query(service, fields)
    hits = await service.database.run(
        lambda connection: run_search(
            connection, registered, query, limit=limit, weights=weights, exact=exact
        )
    )
    rows = [dataclasses.asdict(hit) for hit in hits]
    return json.dumps({"rows": rows}, ensure_ascii=False).encode()


async def vectors(service: Service, fields: Fields) -> bytes:
    fields.only("table", "query", "embedding")
    _, query = await _encoded_query(service, fields)
    return json.dumps({"dense": query.dense, "sparse": query.sparse or None}).encode()


async def _encoded_query(service: Service, fields: Fields) -> tuple[Registered, QueryVectors]:
    table, text, name = (
        fields.text("table"),
        fields.text("query"),
        fields.optional_text("embedding"),
    )
    if not text.strip():
        raise Problem(400, "'query' is empty: there is nothing to compare rows with", param="query")
    registered = await service.database.run(lambda connection: load(connection, table, name))
    declaration = registered.declaration
    encoder = await service.models.get(declaration.model, declaration.precision)
    declaration.check_model(encoder.identity)
    (found,) = await service.turns.encode(
        [text], encoder, kind="query", dimensions=declaration.dimensions
    )
    return registered, as_pgvector(found.encoded, found.row)
