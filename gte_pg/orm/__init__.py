"""SQLAlchemy: the declaration for tables and mapped classes, the mixin, the encoding in the flush."""

from __future__ import annotations

from gte_pg.orm.embedding import INFO_KEY, Embedding, embeddings_of
from gte_pg.orm.flush import encode_in_flush
from gte_pg.orm.search import SearchOptions
from gte_pg.orm.searchable import Searchable

__all__ = [
    "INFO_KEY",
    "Embedding",
    "SearchOptions",
    "Searchable",
    "embeddings_of",
    "encode_in_flush",
]
