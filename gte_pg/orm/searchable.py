"""`Searchable`: the mixin that gives a mapped class its embedding columns and `search`.

class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model="gte-multilingual-base")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, deferred

from gte_pg.declaration import declared_encoder
from gte_pg.errors import DeclarationError
from gte_pg.orm.embedding import Embedding, embeddings_of
from gte_pg.search import (
    MOST_INDEXED_ROWS,
    Parameters,
    QueryVectors,
    Weights,
    check_limit,
    encode_query,
    key_columns,
    search_statement,
)


class Searchable:
    """Mixin for mapped classes that declare an `Embedding`; it stands before the declarative base."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Turn each declared embedding into mapped columns, let the class be mapped, then attach."""
        declared = {
            name: value for name, value in vars(cls).items() if isinstance(value, Embedding)
        }
        for name, embedding in declared.items():
            embedding.name = name
            for column_name, column in embedding.columns().items():
                # Vectors are large and rarely wanted: loaded on access, not with every entity.
                setattr(cls, column_name, deferred(column))
        super().__init_subclass__(**options)
        table = getattr(cls, "__table__", None)
        for embedding in declared.values():
            if not isinstance(table, sa.Table):
                raise DeclarationError(
                    f"{cls.__name__} declares an embedding but is not mapped to a table: "
                    "put Searchable before the declarative base, and give it a __tablename__"
                )
            embedding._set_parent_with_dispatch(table)

    @classmethod
    def search(
        cls,
        query: str | QueryVectors,
        *,
        limit: int = 10,
        dense_weight: float = 1.0,
        sparse_weight: float = 0.1,
        where: Sequence[sa.ColumnElement[bool]] = (),
        exact: bool = False,
        embedding: str | None = None,
    ) -> sa.Select[Self, float]:
        """Return a statement for the best rows for `query`, best first: (entity, score).

        A text is encoded here and now, which takes milliseconds (and the first time, the loading of
        the model); the statement itself does nothing until a session runs it. Conditions in `where`
        hold inside the search, so that `limit` rows come back when so many match; conditions added
        to the statement afterwards only filter what was found.

            for article, score in session.execute(Article.search("cheap flights", limit=5)): ...
        """
        table, declared = _declared(cls, embedding)
        declaration = declared.declaration(table)
        weights = Weights(dense_weight, sparse_weight)
        if isinstance(query, str):
            query = encode_query(declared_encoder(declaration), declaration, query)
        values: dict[str, object] = {
            "dense": query.dense,
            "sparse": query.sparse,
            "k": check_limit(limit),
            "dense_weight": float(weights.dense),
            "sparse_weight": float(weights.sparse),
        }
        found = search_statement(
            declaration,
            table,
            Parameters.of(declaration, values),
            filters=where,
            exact=exact or limit > MOST_INDEXED_ROWS,
        ).subquery("found")
        columns = [table.c[column.name] for column in table.primary_key]
        keys = key_columns(declaration, found)
        same_row = [column == key for column, key in zip(columns, keys, strict=True)]
        statement = (
            sa.select(cls, found.c.score)
            .join(found, sa.and_(*same_row))
            .order_by(found.c.score.desc(), *keys)
        )
        return cast("sa.Select[Self, float]", statement)


def _declared(cls: type, name: str | None) -> tuple[sa.Table, Embedding]:
    mapper: Mapper[Any] | None = sa.inspect(cls, raiseerr=False)
    found = [
        (table, embedding)
        for table in (mapper.tables if mapper is not None else ())
        if isinstance(table, sa.Table)
        for embedding in embeddings_of(table).values()
        if name in (None, embedding.name)
    ]
    names = ", ".join(embedding.name for _, embedding in found)
    if not found:
        raise DeclarationError(
            f"{cls.__name__} declares no embedding"
            + (f" called {name!r}" if name else "; add one: embedding = Embedding('column', …)")
        )
    if len(found) > 1:
        raise DeclarationError(
            f"{cls.__name__} has {len(found)} embeddings ({names}): say which, embedding='…'"
        )
    return found[0]
