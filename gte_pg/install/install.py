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
    create_pending_index,
    drop_capture,
    drop_columns,
    drop_companion,
    search_indexes,
)
from gte_pg.search import stored_statement


def add_statements(
    declaration: Declaration, *, postgres: int, standby: bool = False
) -> list[sql.Composed]:
    """Return the statements that put an embedding on a table that has rows.

    Every row becomes pending. The search indexes are left to `gte-pg sync`, which builds them when
    the vectors are there: an order of magnitude faster than row by row. The table is not rewritten,
    but locked until the transaction ends.
    """
    companion = declaration.layout == "companion"
    return [
        *(create_companion(declaration) if companion else add_columns(declaration)),
        create_pending_index(declaration),
        *create_capture(declaration, postgres=postgres),
        _register(declaration, standby=standby),
    ]


def attach_statements(declaration: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Return the statements that complete a new, empty table.

    In the layout "columns" it has the embedding's columns already.
    """
    return [
        *(create_companion(declaration) if declaration.layout == "companion" else []),
        create_pending_index(declaration),
        *(index.create(declaration) for index in search_indexes(declaration)),
        *create_capture(declaration, postgres=postgres),
        _register(declaration),
    ]


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
        forget(declaration),
        *([drop_companion(declaration)] if companion else []),
    ]


def _register(declaration: Declaration, *, standby: bool = False) -> sql.Composed:
    return register(
        declaration,
        search_statement=stored_statement(declaration),
        exact_statement=stored_statement(declaration, exact=True),
        standby=standby,
    )
