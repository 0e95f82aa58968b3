"""What declaring an embedding does to a database, as statements that the caller runs in one
transaction, after `ensure_schema`. `postgres` is the server's major version.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import forget, register
from gte_pg.declaration import (
    Declaration,
    add_columns,
    create_capture,
    create_companion,
    drop_capture,
    drop_columns,
    drop_companion,
    pending_index,
    search_indexes,
)
from gte_pg.search import stored_statement


def add_statements(
    declaration: Declaration, *, postgres: int, standby: bool = False
) -> list[sql.Composed]:
    """Return the statements that put an embedding on a table that has rows.

    Every row becomes pending. The table is locked until the transaction ends, but not rewritten, nor
    read: what takes its time is left to the workers. They copy the keys to a companion, and build indexes
    CONCURRENTLY: that of the pending rows before they are encoded, and those of searches when the vectors
    are there, an order of magnitude faster than row by row.
    """
    companion = declaration.layout == "companion"
    return [
        *(create_companion(declaration) if companion else add_columns(declaration)),
        *create_capture(declaration, postgres=postgres),
        _register(declaration, standby=standby, copying=companion),
    ]


def attach_statements(declaration: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Return the statements that complete a new, empty table.

    In the layout "columns" it has the embedding's columns already.
    """
    return [
        *(create_companion(declaration) if declaration.layout == "companion" else []),
        *create_indexes(declaration),
        *create_capture(declaration, postgres=postgres),
        _register(declaration),
    ]


def create_indexes(declaration: Declaration) -> list[sql.Composed]:
    """Return the statements that build all indexes of an embedding whose table is new, or empty."""
    indexes = [pending_index(declaration), *search_indexes(declaration)]
    return [index.create(declaration) for index in indexes]


def remove_statements(declaration: Declaration) -> list[sql.Composed]:
    """Return the statements that take an embedding off its table: vectors, indexes, triggers."""
    if declaration.layout == "companion":
        return detach_statements(declaration)
    return [*detach_statements(declaration), drop_columns(declaration)]


def detach_statements(declaration: Declaration) -> list[sql.Composed]:
    """Return the statements that go before a table with an embedding is dropped."""
    companion = declaration.layout == "companion"
    return [
        *drop_capture(declaration),
        *([drop_companion(declaration)] if companion else []),
        forget(declaration),
    ]


def _register(
    declaration: Declaration, *, standby: bool = False, copying: bool = False
) -> sql.Composed:
    return register(
        declaration,
        search_statement=stored_statement(declaration),
        exact_statement=stored_statement(declaration, exact=True),
        standby=standby,
        copying=copying,
    )
