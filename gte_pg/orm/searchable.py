"""`Searchable`: the mixin that gives a mapped class its embedding columns and `search`.

class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    embedding = Embedding("title", model="gte-multilingual-base")
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Literal, Self, Unpack, overload

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeMeta, Mapper, deferred

from gte_pg.errors import DeclarationError
from gte_pg.orm.embedding import Embedding, embeddings_of
from gte_pg.orm.search import (
    SearchOptions,
    query_statement,
    query_vectors,
    similar_statement,
)
from gte_pg.search import QueryVectors, named_column


class Searchable:
    """Mixin for mapped classes that declare an `Embedding`; it stands before the declarative base.

    The embedding may also stand in a mixin or an abstract base: every class that is mapped with it
    has one of its own.

        >>> class Recipe(Searchable, Base):
        ...     __tablename__ = "recipes"
        ...     id: Mapped[int] = mapped_column(primary_key=True)
        ...     text: Mapped[str]
        ...     embedding = Embedding("text", model="all-MiniLM-L6-v2")
        >>> Base.metadata.create_all(engine)
        >>> session.add_all([Recipe(text="Boil the beans"), Recipe(text="Bake the bread")])
        >>> session.commit()
        >>> [recipe.text for recipe, score in session.execute(Recipe.search("a loaf", limit=1))]
        ['Bake the bread']
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Turn each declared embedding into mapped columns; what maps the class attaches them."""
        declared = _declared_here(cls) if _is_to_be_mapped(cls) else {}
        table = vars(cls).get("__table__")
        for name, embedding in declared.items():
            columns: Mapping[str, sa.ColumnElement[Any]] = embedding.columns()
            if isinstance(table, sa.Table):
                embedding._set_parent_with_dispatch(table)
                columns = {key: named_column(table, key) for key in columns}
            setattr(cls, name, None)
            for key, column in columns.items():
                # Vectors are large and rarely wanted: loaded on access, not with every entity.
                setattr(cls, key, deferred(column))
        if declared:
            cls.__gte_embeddings__ = declared
        super().__init_subclass__(**options)
        if declared and not _is_mapped_later(cls) and sa.inspect(cls, raiseerr=False) is None:
            raise DeclarationError(
                f"{cls.__name__} declares an embedding but is not mapped to a table: "
                "put Searchable before the declarative base, and give it a __tablename__"
            )

    __gte_embeddings__: ClassVar[dict[str, Embedding]]

    @overload
    @classmethod
    def search(
        cls,
        query: str | QueryVectors,
        *,
        with_parts: Literal[False] = ...,
        **options: Unpack[SearchOptions],
    ) -> sa.Select[Self, float]: ...

    @overload
    @classmethod
    def search(
        cls,
        query: str | QueryVectors,
        *,
        with_parts: Literal[True],
        **options: Unpack[SearchOptions],
    ) -> sa.Select[Self, float, float, float, bool]: ...

    @classmethod
    def search(
        cls,
        query: str | QueryVectors,
        *,
        with_parts: bool = False,
        **options: Unpack[SearchOptions],
    ) -> sa.Select[Any]:
        """Return a statement for the best rows for `query`, best first: (entity, score).

        `with_parts` adds the columns dense part and sparse part, both unweighted, and complete, the same
        for all rows: no row that was not looked at scores above the last one, given that the dense index
        did bring the nearest rows. `SearchOptions` says what else can be asked for.

        A text is encoded here and now, see `encode_query`. The statement itself does nothing until a
        session runs it.

            >>> for article, score in session.execute(Article.search("cheap flights", limit=5)):
            ...     print(article.title)
            Fly to Berlin for less
            Cooking with beans
        """
        return query_statement(cls, query, with_parts, options)

    @classmethod
    def encode_query(cls, query: str, *, embedding: str | None = None) -> QueryVectors:
        """Encode a query once, for as many searches as you like.

        Blocks for milliseconds, and the first time for the seconds in which the model is loaded. Under
        asyncio `await asyncio.to_thread(Article.encode_query, text)` leaves the loop to others meanwhile.

            >>> query = Article.encode_query("cheap flights")
            >>> session.scalars(Article.search(query, exact=True)).first().title
            'Fly to Berlin for less'
        """
        return query_vectors(cls, query, embedding)

    @overload
    @classmethod
    def similar(
        cls, row: object, *, with_parts: Literal[False] = ..., **options: Unpack[SearchOptions]
    ) -> sa.Select[Self, float]: ...

    @overload
    @classmethod
    def similar(
        cls, row: object, *, with_parts: Literal[True], **options: Unpack[SearchOptions]
    ) -> sa.Select[Self, float, float, float, bool]: ...

    @classmethod
    def similar(
        cls, row: object, *, with_parts: bool = False, **options: Unpack[SearchOptions]
    ) -> sa.Select[Any]:
        """Return a statement for the rows most like one that is stored, by its vectors: no encoder.

        `row` is an entity, or its key as `Session.get` takes it. It is not among the rows; where it is
        not there, or has no vector yet, none are. Otherwise like `search`.

            >>> [other.title for other, score in session.execute(Article.similar(article, limit=5))]
            ['Fly to Berlin for less']
        """
        return similar_statement(cls, row, with_parts, options)


def _is_to_be_mapped(cls: type) -> bool:
    """Whether a class is mapped: not an abstract base, nor a mixin for classes that will be."""
    here = vars(cls)
    return not here.get("__abstract__") and (
        hasattr(cls, "registry") or "__tablename__" in here or "__table__" in here
    )


def _is_mapped_later(cls: type) -> bool:
    """Whether a class is mapped later: by a decorator, by `prepare()` of a reflecting base, or by the
    metaclass that a base of `declarative_base()` has.
    """
    return (
        not hasattr(cls, "registry") or hasattr(cls, "prepare") or isinstance(cls, DeclarativeMeta)
    )


def _declared_here(cls: type) -> dict[str, Embedding]:
    """Return the embeddings of a class and of its mixins and abstract bases, each its own copy.

    In a mapped base the embedding has become a column: it belongs to the base's table, as does what the
    base has from its own mixins. A concrete class inherits no table.
    """
    # Written as a declared_attr it is a value where it is asked for.
    arguments = getattr(cls, "__mapper_args__", {}) if "__mapper_args__" in vars(cls) else {}
    concrete = isinstance(arguments, Mapping) and arguments.get("concrete")
    bases = () if concrete else cls.__mro__[1:]
    mapped = [base for base in bases if "__gte_embeddings__" in vars(base)]
    theirs = {kind for base in mapped for kind in base.__mro__}
    declared = {
        name: value.named(name)
        for kind in reversed(cls.__mro__)
        if kind not in theirs
        for name, value in vars(kind).items()
        if isinstance(value, Embedding)
    }
    for base in mapped:
        for name in declared.keys() & vars(base)["__gte_embeddings__"].keys():
            raise DeclarationError(
                f"{cls.__name__} inherits an embedding called {name!r} from {base.__name__}: give its own "
                "another name"
            )
    return declared


@sa.event.listens_for(Searchable, "after_mapper_constructed", propagate=True)
def _attach(mapper: Mapper[Any], cls: type) -> None:
    """Attach the embeddings of a class to its table, once it is mapped to one."""
    for embedding in vars(cls).get("__gte_embeddings__", {}).values():
        table = mapper.local_table
        if embedding in embeddings_of(table).values():
            continue
        if not isinstance(table, sa.Table):
            raise DeclarationError(
                f"{cls.__name__} declares an embedding but is mapped to no table: {table}"
            )
        embedding.rename_columns(partial(_column_name, mapper))
        embedding._set_parent_with_dispatch(table)


def _column_name(mapper: Mapper[Any], name: str) -> str:
    """Return the column of a source, which may be written as the column or as its attribute."""
    names = [column.name for column in mapper.local_table.c]
    if name in names or name not in mapper.columns:
        return name
    return mapper.columns[name].name
