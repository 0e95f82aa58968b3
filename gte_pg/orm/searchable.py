"""`Searchable`: the mixin that gives a mapped class its embedding columns and `search`.

class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model="gte-multilingual-base")
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self, cast

import sqlalchemy as sa
from sqlalchemy.orm import Mapper, deferred

from gte_pg.declaration import declared_encoder
from gte_pg.errors import DeclarationError
from gte_pg.orm.embedding import Embedding, embeddings_of
from gte_pg.search import (
    MOST_INDEXED_ROWS,
    Parameters,
    QueryVectors,
    Tables,
    Weights,
    check_limit,
    encode_query,
    key_columns,
    search_statement,
)


class Searchable:
    """Mixin for mapped classes that declare an `Embedding`; it stands before the declarative base.

    The embedding may also stand in a mixin or an abstract base: every class that is mapped with it
    has one of its own.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Turn each declared embedding into mapped columns; what maps the class attaches them."""
        declared = _declared_here(cls) if _is_to_be_mapped(cls) else {}
        for name, embedding in declared.items():
            # Vectors are large and rarely wanted: loaded on access, not with every entity.
            columns = {key: deferred(column) for key, column in embedding.columns().items()}
            for key, column in ({name: None} | columns).items():
                setattr(cls, key, column)
        if declared:
            cls.__gte_embeddings__ = declared
        super().__init_subclass__(**options)
        if declared and hasattr(cls, "registry") and sa.inspect(cls, raiseerr=False) is None:
            raise DeclarationError(
                f"{cls.__name__} declares an embedding but is not mapped to a table: "
                "put Searchable before the declarative base, and give it a __tablename__"
            )

    __gte_embeddings__: ClassVar[dict[str, Embedding]]

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
        with_complete: bool = False,
    ) -> sa.Select[Self, float]:
        """Return a statement for the best rows for `query`, best first: (entity, score).

        `with_complete` adds a third column, the same for all rows: no row that was not looked at scores
        above the last one, given that the dense index did bring the nearest rows.

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
            Tables.of(declaration, table, _conditions(cls, table, where)),
            Parameters.of(declaration, values),
            exact=exact or limit > MOST_INDEXED_ROWS,
        ).subquery("found")
        columns = [table.c[column.name] for column in table.primary_key]
        keys = key_columns(declaration, found)
        same_row = [column == key for column, key in zip(columns, keys, strict=True)]
        told = [found.c.complete] if with_complete else []
        statement = (
            sa.select(cls, found.c.score, *told)
            .join(found, sa.and_(*same_row))
            .order_by(found.c.score.desc(), *keys)
        )
        return cast("sa.Select[Self, float]", statement)


def _conditions(
    cls: type, table: sa.Table, where: Sequence[sa.ColumnElement[bool]]
) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions of a search; a class that inherits its embedding searches its own rows."""
    mapper: Mapper[Any] = sa.inspect(cls)
    if mapper.inherits is None or (mapper.local_table is table and not mapper.single):
        return where
    attributes = [
        getattr(cls, mapper.get_property_by_column(column).key) for column in table.primary_key
    ]
    own = sa.select(*attributes).where(*where).correlate(None)
    return [sa.tuple_(*table.primary_key).in_(own)]


def _is_to_be_mapped(cls: type) -> bool:
    """Whether a class is mapped: not an abstract base, nor a mixin for classes that will be."""
    here = vars(cls)
    return not here.get("__abstract__") and (
        hasattr(cls, "registry") or "__tablename__" in here or "__table__" in here
    )


def _declared_here(cls: type) -> dict[str, Embedding]:
    """Return the embeddings of a class and of its mixins and abstract bases, each its own copy.

    In a mapped base the embedding has become a column: it belongs to the base's table.
    """
    return {
        name: value.named(name)
        for kind in reversed(cls.__mro__)
        for name, value in vars(kind).items()
        if isinstance(value, Embedding)
    }


@sa.event.listens_for(Searchable, "after_mapper_constructed", propagate=True)
def _attach(mapper: Mapper[Any], cls: type) -> None:
    """Attach the embeddings of a class to its table, once it is mapped to one."""
    for embedding in vars(cls).get("__gte_embeddings__", {}).values():
        table = mapper.local_table
        if not isinstance(table, sa.Table):
            raise DeclarationError(
                f"{cls.__name__} declares an embedding but is mapped to no table: {table}"
            )
        embedding.source = tuple(_column_name(mapper, name) for name in embedding.source)
        embedding._set_parent_with_dispatch(table)


def _column_name(mapper: Mapper[Any], name: str) -> str:
    """Return the column of a source, which may be written as the column or as its attribute."""
    if name in mapper.local_table.c or name not in mapper.columns:
        return name
    return mapper.columns[name].name


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
