"""The ways to rank that are compared: gte-pg's searches, and Postgres' full-text search."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.encoder import Encoder
from gte_pg.search import QueryVectors, Weights, encode_query, search

# How many documents a ranking has.
DEPTH = 100

# Given the text of a query, a way returns the ids of the best documents, best first.
Way = Callable[[str], list[str]]

# A document that has any of the words is found: with all of them demanded, as plainto_tsquery does, most
# questions find nothing. Of the ranks that Postgres offers this one was the best on our collections.
_FULL_TEXT = """
SELECT id FROM {vectors},
    to_tsvector({config}::regconfig, concat_ws(E'\\n', title, text)) AS words,
    (SELECT string_agg(quote_literal(lexeme), ' | ')::tsquery AS any_word
     FROM unnest(to_tsvector({config}::regconfig, %(text)s))) AS asked
WHERE words @@ any_word ORDER BY ts_rank(words, any_word, 1) DESC, id LIMIT %(depth)s
"""


def ways(
    connection: Connection,
    registered: Registered,
    encoder: Encoder,
    weights: Weights,
    config: str = "english",
) -> dict[str, Way]:
    """Return the ways by name: hybrid by these weights, each part alone, and full text by `config`."""
    declaration = registered.declaration
    vectors: dict[str, QueryVectors] = {}

    def by(weights: Weights) -> Way:
        def ask(text: str) -> list[str]:
            if text not in vectors:
                vectors[text] = encode_query(encoder, declaration, text)
            found = search(connection, registered, vectors[text], limit=DEPTH, weights=weights)
            return [hit.key["id"] for hit in found]

        return ask

    statement = sql.SQL(_FULL_TEXT).format(vectors=declaration.relation, config=sql.Literal(config))

    def full_text(text: str) -> list[str]:
        return [key for (key,) in connection.execute(statement, {"text": text, "depth": DEPTH})]

    if not declaration.has_sparse:
        return {"dense": by(Weights(1, 0)), "full text": full_text}
    return {
        "hybrid": by(weights),
        "dense": by(Weights(1, 0)),
        "token weights": by(Weights(0, 1)),
        "full text": full_text,
    }
