"""gte-pg: make any Postgres table searchable by meaning.

class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model="gte-multilingual-base")

session.add(Article(title="…"))                              # encoded in the flush
session.execute(Article.search("cheap flights", limit=10))   # rows of (Article, score)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gte_pg.encoder import Encoded, Encoder, Score, SparseRows, load_encoder, score
    from gte_pg.errors import (
        DatabaseError,
        DeclarationError,
        EncodingError,
        GtePgError,
        ModelError,
        ModelNotFound,
        QueryError,
    )
    from gte_pg.orm import Embedding, Searchable, SearchOptions, embeddings_of
    from gte_pg.search import QueryVectors
    from gte_pg.sync import wait_until_synced

__all__ = [
    "DatabaseError",
    "DeclarationError",
    "Embedding",
    "Encoded",
    "Encoder",
    "EncodingError",
    "GtePgError",
    "ModelError",
    "ModelNotFound",
    "QueryError",
    "QueryVectors",
    "Score",
    "SearchOptions",
    "Searchable",
    "SparseRows",
    "embeddings_of",
    "load_encoder",
    "score",
    "wait_until_synced",
]

# From below: each needs those before it.
_LAYERS = ("errors", "encoder", "sync", "search", "orm")


# A type checker would take any name for one of ours.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import what is asked for when it is: who only encodes needs no Postgres, and a command no ORM."""
        if name in __all__:
            for layer in _LAYERS:
                module = importlib.import_module(f"{__name__}.{layer}")
                if hasattr(module, name):
                    globals()[name] = found = getattr(module, name)
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
