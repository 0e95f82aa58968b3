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
    """Base of every error raised by gte-pg."""


class DeclarationError(GtePgError):
    """An embedding is declared wrongly."""


class ModelError(GtePgError):
    """A model's files are missing a part, are broken, or describe something unsupported."""


class ModelNotFound(ModelError):  # noqa: N818 - reads as what happened
    """A model's files are neither on this machine nor reachable."""


class EncodingError(GtePgError):
    """A text cannot be encoded. `index` is its position in the batch, where one is known."""

    def __init__(self, message: str, *, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class DatabaseError(GtePgError):
    """The database lacks something that gte-pg needs, or holds something it does not expect."""


class QueryError(GtePgError):
    """A search cannot be answered as it was asked."""
