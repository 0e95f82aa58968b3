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
