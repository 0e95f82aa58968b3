"""Every text that a row of the run can have, and what the model says of each.

The texts are few, so that all vectors are known beforehand: every vector in every sample is compared,
and texts come back, which is what a careless compare-and-set mistakes for no change.
"""

from __future__ import annotations

import itertools

from psycopg import sql

from gte_pg.database import Connection
from gte_pg.declaration import join_texts, text_hash
from gte_pg.encoder import Encoder

_WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty")
_PLACES = ("north", "south", "harbour")

# What a trigger of the application writes over a title.
LIKED = "liked"

# What the encoder refuses: a row with it is parked.
UNLUCKY = "unlucky"

TITLES = (
    None,
    "",
    LIKED,
    *(f"{word} {place}" for word in _WORDS for place in _PLACES),
)
BODIES = (None, "", *(f"of the {word} and its harbour" for word in _WORDS))

# Two texts whose vectors are no further apart than this could not be told from each other.
TOLERANCE = 0.01

_CREATE = """
CREATE SCHEMA stress;
CREATE TABLE stress.reference (text text PRIMARY KEY, hash bytea UNIQUE, dense vector, sparse sparsevec)
"""

_INSERT = "INSERT INTO stress.reference VALUES (%s, %s, %s, %s)"

_TOO_CLOSE = sql.SQL("""
SELECT count(*) FROM stress.reference AS a JOIN stress.reference AS b ON a.text < b.text
WHERE a.dense <-> b.dense < 2 * {}
""")


def all_texts() -> list[str]:
    """Return what any choice of source columns can make of a title and a body."""
    pairs = itertools.product((*TITLES, UNLUCKY), BODIES)
    texts = {
        text
        for one, two in pairs
        for text in (one, two, join_texts((one, two)), join_texts((two, one)))
    }
    return sorted(filter(None, texts))


def create_reference(connection: Connection, encoder: Encoder, generation: str) -> None:
    """Store every text with its hash and its vectors, encoded here and by nothing that is on trial."""
    texts = all_texts()
    encoded = encoder.encode(texts)
    assert encoded.sparse is not None
    connection.execute(_CREATE)
    rows = []
    for place, text in enumerate(texts):
        indices, weights = encoded.sparse[place]
        pairs = zip(indices.tolist(), weights.tolist(), strict=True)
        sparse = ",".join(f"{index + 1}:{weight}" for index, weight in pairs)
        rows.append(
            (
                text,
                text_hash(generation, text),
                str(encoded.dense[place].tolist()),
                f"{{{sparse}}}/{encoded.sparse.dimensions}",
            )
        )
    with connection.cursor() as cursor:
        cursor.executemany(_INSERT, rows)
    too_close = connection.execute(_TOO_CLOSE.format(TOLERANCE)).fetchone()
    assert too_close == (0,), "texts whose vectors cannot be told apart"
