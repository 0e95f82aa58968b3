"""Every error that gte-pg raises on purpose.

    GtePgError
    ├── DeclarationError     an embedding is declared wrongly: unknown column, dimension, name
    ├── ModelError           a model cannot be found, read, verified or is of an unsupported kind
    │   └── ModelNotFound    its files are neither here nor reachable
    ├── EncodingError        a text cannot be encoded; `.index` is its place in the batch
    ├── DatabaseError        the database lacks what gte-pg needs: extension, schema, table, right
    └── QueryError           a search cannot be answered as asked: weights, limit, dimension

A message says what is wrong, the value seen and what to do next. Errors of psycopg and SQLAlchemy
pass through unchanged: the connection is the caller's, and so is their knowledge of its errors.
"""

from __future__ import annotations

__all__ = [
    "DatabaseError",
    "DeclarationError",
    "EncodingError",
    "GtePgError",
    "ModelError",
    "ModelNotFound",
    "QueryError",
]


class GtePgError(Exception):
    """Base of every error raised by gte-pg.

    What is raised on purpose is one of its children, so that one `except` is enough for all of them.

        >>> try:
        ...     load_encoder("no-such-model")
        ... except GtePgError as error:
        ...     print(type(error).__name__)
        ModelNotFound
    """


class DeclarationError(GtePgError):
    """An embedding is declared wrongly.

    What can be known without a database is said when the table or the class is defined.

        >>> Embedding("title", model="all-MiniLM-L6-v2", encode="never")
        Traceback (most recent call last):
        gte_pg.errors.DeclarationError: encode is 'flush' or 'deferred', not 'never'
    """


class ModelError(GtePgError):
    """A model's files are missing a part, are broken, or describe something unsupported.

    Also where something is asked of a model that it was not made for.

        >>> Encoder.load("all-MiniLM-L6-v2", precision="float64")
        Traceback (most recent call last):
        gte_pg.errors.ModelError: precision is 'float64'; it is 'float32' or 'int8'
    """


class ModelNotFound(ModelError):  # noqa: N818 - reads as what happened
    """A model's files are neither on this machine nor reachable.

    The message says what was looked for, and what to do.

        >>> load_encoder("/models/mine")
        Traceback (most recent call last):
        gte_pg.errors.ModelNotFound: there is no model '/models/mine': ...
    """


class EncodingError(GtePgError):
    """A text cannot be encoded. `index` is its position in the batch, where one is known.

    The other texts of the batch can be: leave it out and try again.

        >>> try:
        ...     load_encoder("all-MiniLM-L6-v2").encode(["a text", None])
        ... except EncodingError as error:
        ...     print(error.index, error)
        1 the text is NoneType, not a string
    """

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class DatabaseError(GtePgError):
    """The database lacks something that gte-pg needs, or holds something it does not expect.

    An extension, its schema, a table, an embedding, a right: the message says how to bring it there.

        >>> wait_until_synced(connection, "gte.lease")
        Traceback (most recent call last):
        gte_pg.errors.DatabaseError: the table gte.lease has no embedding: there is nothing to wait for
    """


class QueryError(GtePgError):
    """A search cannot be answered as it was asked.

    Its text is empty, or its limit, its weights or its vectors make no sense.

        >>> Article.search("cheap flights", limit=0)
        Traceback (most recent call last):
        gte_pg.errors.QueryError: the limit is 0: ask for at least one row
    """
