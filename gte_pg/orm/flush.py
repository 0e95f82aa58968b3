"""Encoding in the flush: what the ORM is about to write is encoded first, in one batch a model.

It is a convenience, not what keeps vectors right: the triggers do that. Whatever is missed here (a
value that only the database knows, a column that a class leaves out, a bulk statement) is pending and
done by `gte-pg sync`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pgvector import SparseVector
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import InstanceState, Mapper, Session
from sqlalchemy.orm.attributes import flag_modified, set_attribute
from sqlalchemy.orm.exc import UnmappedColumnError
from sqlalchemy.util.concurrency import await_, in_greenlet

from gte_pg.declaration import Declaration, declared_encoder, text_hash, written_text
from gte_pg.encoder import Encoded
from gte_pg.orm.embedding import Embedding, embeddings_of
from gte_pg.search import named_column


@dataclass(frozen=True, slots=True)
class _Due:
    """An object whose source text is new, and the embedding that is due for it."""

    entity: Any
    attributes: dict[str, str]
    declaration: Declaration
    text: str


@sa.event.listens_for(Session, "before_flush")
def encode_in_flush(session: Session, *_: object) -> None:
    """Encode the new and changed texts of the session's objects.

    Blocks while it encodes; in an AsyncSession the task waits and the event loop goes on.
    """
    due: dict[str, list[_Due]] = defaultdict(list)
    for entity in [*session.new, *session.dirty]:
        for one in _due(entity):
            due[one.declaration.generation].append(one)
    for group in due.values():
        encoded = _encode(group[0].declaration, [one.text for one in group])
        for place, one in enumerate(group):
            declaration = one.declaration
            values: dict[str, object] = {
                declaration.dense_column: encoded.dense[place].tolist(),
                declaration.hash_column: text_hash(declaration.generation, one.text),
                declaration.pending_column: None,
            }
            if encoded.sparse is not None:
                indices, weights = encoded.sparse[place]
                values[declaration.sparse_column] = SparseVector(
                    dict(zip(indices.tolist(), weights.tolist(), strict=True)),
                    encoded.sparse.dimensions,
                )
            _set(one.entity, one.attributes, values)


def _set(entity: Any, attributes: Mapping[str, str], values: Mapping[str, object]) -> None:
    """Set the columns of an embedding: all are written, also as they were read, so that rows of one flush
    fit in one statement.
    """
    for column, value in values.items():
        # Not by setattr, which a class may allow for its own fields only.
        set_attribute(entity, attributes[column], value)
        flag_modified(entity, attributes[column])


def _encode(declaration: Declaration, texts: list[str]) -> Encoded:
    def encode() -> Encoded:
        encoder = declared_encoder(declaration)
        return encoder.encode(texts, dimensions=declaration.dimensions)

    if in_greenlet():
        # Under asyncio the loop has other things to do meanwhile.
        return await_(asyncio.to_thread(encode))
    return encode()


def _due(entity: Any) -> list[_Due]:
    """Return what is due for one object; an object without text gets its vectors emptied."""
    state: InstanceState[Any] = sa.inspect(entity)
    found = []
    for table in state.mapper.tables:
        for embedding in embeddings_of(table).values():
            assert isinstance(table, sa.Table)
            one = _due_of(entity, state, table, embedding)
            if one is not None:
                found.append(one)
    return found


def _due_of(
    entity: Any, state: InstanceState[Any], table: sa.Table, embedding: Embedding
) -> _Due | None:
    if embedding.encode == "deferred":
        return None
    sources = _attributes(state.mapper, table, embedding.source)
    if sources is None or not _is_new(state, sources.values()):
        return None
    texts = _texts(entity, table, sources)
    declaration = embedding.declaration(table)
    attributes = _attributes(state.mapper, table, declaration.columns)
    if texts is None or attributes is None:
        return None
    text = written_text(declaration, texts)
    if text is None:
        _set(entity, attributes, dict.fromkeys(attributes))
        return None
    return _Due(entity, attributes, declaration, text)


def _attributes(
    mapper: Mapper[Any], table: sa.Table, columns: Iterable[str]
) -> dict[str, str] | None:
    """Return the attributes of the columns by their names; None if the class leaves one of them out."""
    try:
        return {
            name: mapper.get_property_by_column(named_column(table, name)).key for name in columns
        }
    except UnmappedColumnError:
        return None


def _is_new(state: InstanceState[Any], attributes: Iterable[str]) -> bool:
    changes = (state.attrs[attribute].history.has_changes() for attribute in attributes)
    return not state.persistent or any(changes)


def _texts(
    entity: Any, table: sa.Table, sources: Mapping[str, str]
) -> dict[str, str | None] | None:
    """Return the text of each source column; None if only the database knows all of them."""
    texts: dict[str, str | None] = {}
    for column, attribute in sources.items():
        try:
            value = getattr(entity, attribute)
        except InvalidRequestError:
            # It is not to be loaded: `raiseload`.
            return None
        if type(value) is int and isinstance(named_column(table, column).type, sa.Integer):
            value = str(value)
        if not (value is None or isinstance(value, str)):
            return None
        texts[column] = value
    return texts
