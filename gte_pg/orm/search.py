"""The statements of a mapped class: its best rows for a query, or the rows most like one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.orm import InstanceState, Mapper

from gte_pg.declaration import Declaration, declared_encoder
from gte_pg.errors import DeclarationError, QueryError
from gte_pg.orm.embedding import embeddings_of
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
    stored_vectors,
)


class SearchOptions(TypedDict, total=False):
    """What `search` and `similar` of a mapped class take.

    Behind the semicolon stands what holds where it is not given:

        limit           how many rows at most; 10
        dense_weight    the weight of the cosine of the two dense vectors; 1.0
        sparse_weight   the weight of the sum over shared tokens; 0.1
        where           conditions that hold inside the search, so that `limit` rows come back when so many
                        match; conditions added to the statement afterwards only filter what was found
        exact           score every row instead of asking the indexes; False
        embedding       the name of the embedding, where the class has several

        >>> words_only: SearchOptions = {"limit": 5, "dense_weight": 0.0}
        >>> session.scalars(Article.search("beans", **words_only)).one().title
        'Cooking with beans'
    """

    limit: int
    dense_weight: float
    sparse_weight: float
    where: Sequence[sa.ColumnElement[bool]]
    exact: bool
    embedding: str | None


def query_vectors(cls: type, query: str, embedding: str | None) -> QueryVectors:
    """Encode a query for an embedding of a class."""
    _, declaration = _declared(cls, embedding)
    return encode_query(declared_encoder(declaration), declaration, query)


def query_statement(
    cls: type, query: str | QueryVectors, with_parts: bool, options: SearchOptions
) -> sa.Select[Any]:
    """Return the best rows for a query; a text is encoded here and now."""
    table, declaration = _declared(cls, options.get("embedding"))
    if not isinstance(query, QueryVectors):
        query = encode_query(declared_encoder(declaration), declaration, query)
    vectors = {"dense": query.dense, "sparse": query.sparse}
    return _statement(cls, table, declaration, vectors, with_parts, options)


def similar_statement(
    cls: type, row: object, with_parts: bool, options: SearchOptions
) -> sa.Select[Any]:
    """Return the rows most like one that is stored, which is not among them."""
    table, declaration = _declared(cls, options.get("embedding"))
    key = _key(cls, table, row)
    vectors = stored_vectors(declaration, key)
    columns = list(table.primary_key)
    own = sa.and_(*(column == value for column, value in zip(columns, key, strict=True)))
    others: SearchOptions = {
        **options,
        # A row that has no vector is like no other.
        "where": [*_where(options), sa.not_(own), vectors["dense"].is_not(None)],
    }
    return _statement(cls, table, declaration, vectors, with_parts, others)


def _statement(
    cls: type,
    table: sa.Table,
    declaration: Declaration,
    vectors: Mapping[str, object],
    with_parts: bool,
    options: SearchOptions,
) -> sa.Select[Any]:
    limit = check_limit(options.get("limit", 10))
    weights = Weights(options.get("dense_weight", 1.0), options.get("sparse_weight", 0.1))
    values = {
        **vectors,
        "k": limit,
        "dense_weight": float(weights.dense),
        "sparse_weight": float(weights.sparse),
    }
    found = search_statement(
        Tables.of(declaration, table, _conditions(cls, table, _where(options))),
        Parameters.of(declaration, values),
        exact=options.get("exact", False) or limit > MOST_INDEXED_ROWS,
    ).subquery("gte_found")
    keys = key_columns(declaration, found)
    same_row = [column == key for column, key in zip(table.primary_key, keys, strict=True)]
    parts = [found.c.dense, found.c.sparse, found.c.complete] if with_parts else []
    return (
        sa.select(cls, found.c.score, *parts)
        .join(found, sa.and_(*same_row))
        .order_by(found.c.score.desc(), *keys)
    )


def _key(cls: type, table: sa.Table, row: object) -> list[sa.ColumnElement[Any]]:
    """Return the key of a row, given as an entity or as `Session.get` takes it."""
    values = row if isinstance(row, (tuple, list)) else (row,)
    if isinstance(row, cls):
        state: InstanceState[Any] = sa.inspect(row)
        if state.identity is None:
            raise QueryError(
                f"this {cls.__name__} is not stored yet: flush the session before you ask what is "
                "similar to it"
            )
        values = state.identity
    columns = list(table.primary_key)
    if len(values) != len(columns) or any(value is None for value in values):
        names = ", ".join(column.name for column in columns)
        raise QueryError(
            f"the key {row!r} does not fit the primary key ({names}) of {table.name!r}: give a "
            f"{cls.__name__}, or a value for each of its columns"
        )
    return [
        sa.bindparam(f"gte_{column.name}", value, type_=column.type, unique=True)
        for column, value in zip(columns, values, strict=True)
    ]


def _where(options: SearchOptions) -> Sequence[sa.ColumnElement[bool]]:
    where = options.get("where", ())
    if not isinstance(where, Sequence):
        raise QueryError(f"where is a list of conditions, not one: where=[{where}]")
    return where


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


def _declared(cls: type, name: str | None) -> tuple[sa.Table, Declaration]:
    mapper: Mapper[Any] | None = sa.inspect(cls, raiseerr=False)
    if mapper is not None:
        _check_is_of_one_table(cls, mapper)
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
    table, embedding = found[0]
    return table, embedding.declaration(table)


def _check_is_of_one_table(cls: type, mapper: Mapper[Any]) -> None:
    """Raise QueryError for the base of concrete classes: its rows are those of all their tables."""
    concrete = [one for one in mapper.self_and_descendants if one.concrete and one is not mapper]
    if concrete and not isinstance(mapper.selectable, sa.Table):
        names = ", ".join(one.class_.__name__ for one in concrete)
        raise QueryError(
            f"{cls.__name__} reads the rows of several tables, in which one key may stand for several "
            f"rows. Search the classes that have a table of their own, each for itself: {names}"
        )
