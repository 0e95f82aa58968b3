"""What a search is asked with: the query's vectors, the weights of the two parts, how many rows."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from numbers import Integral

from gte_pg.declaration import Declaration
from gte_pg.encoder import Encoded, Encoder
from gte_pg.errors import QueryError

# Beyond so many rows the candidates of the indexes are not enough: every row is scored.
MOST_INDEXED_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the reference formula; its defaults are gte-multilingual's own."""

    dense: float = 1.0
    sparse: float = 0.1

    def __post_init__(self) -> None:
        for name, weight in (("dense", self.dense), ("sparse", self.sparse)):
            if not (math.isfinite(weight) and weight >= 0):
                raise QueryError(
                    f"the {name} weight is {weight}: it must be finite and not negative"
                )
        if self.dense + self.sparse == 0:
            raise QueryError("both weights are 0: every row would have the same score")


@dataclass(frozen=True, slots=True)
class QueryVectors:
    """An encoded query in pgvector's text form: `[0.1, …]` and `{3:0.5,…}/30522` ('' for none).

    For vectors that were encoded elsewhere, as `/vectors` of `gte-pg serve` answers them.

        >>> dense = encoder.encode(["cheap flights"], kind="query").dense[0].tolist()
        >>> best = session.scalars(Article.search(QueryVectors(str(dense), ""))).first()
        >>> best.title
        'Fly to Berlin for less'
    """

    dense: str
    sparse: str


def check_limit(limit: int) -> int:
    """Return the limit, or raise QueryError if it is not a positive number of rows."""
    if not isinstance(limit, Integral):
        raise QueryError(f"the limit is {limit!r}: ask for a whole number of rows")
    if limit < 1:
        raise QueryError(f"the limit is {limit}: ask for at least one row")
    return limit


def encode_query(encoder: Encoder, declaration: Declaration, text: str) -> QueryVectors:
    """Encode a query for an embedding. Blocks for the encoding of one text: milliseconds."""
    if not isinstance(text, str):
        raise QueryError(
            f"the query is {reprlib.repr(text)} ({type(text).__name__}): give a text, or the "
            "QueryVectors of one"
        )
    if not text.strip():
        raise QueryError("the query is empty: there is nothing to compare the rows with")
    declaration.check_model(encoder.identity)
    encoded = encoder.encode([text], kind="query", dimensions=declaration.dimensions)
    return as_pgvector(encoded, 0)


def as_pgvector(encoded: Encoded, index: int) -> QueryVectors:
    """Return the vectors of one encoded text in pgvector's text form."""
    sparse = ""
    if encoded.sparse is not None:
        indices, weights = encoded.sparse[index]
        entries = zip(indices + 1, weights, strict=True)
        inner = ",".join(f"{token}:{weight!s}" for token, weight in entries)
        sparse = f"{{{inner}}}/{encoded.sparse.dimensions}"
    # Nine digits tell any two float32 apart.
    dense = ",".join([f"{value:.9g}" for value in encoded.dense[index].tolist()])
    return QueryVectors(f"[{dense}]", sparse)


def parse_sparse(text: str) -> dict[int, float]:
    """Return the weights in a sparse vector's text form by canonical token id, from 0."""
    inner = text.partition("/")[0].strip("{}")
    pairs = (entry.split(":") for entry in inner.split(",") if entry)
    return {int(index) - 1: float(weight) for index, weight in pairs}
