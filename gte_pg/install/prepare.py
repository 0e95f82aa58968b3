"""Prepare a database: gte-pg's own schema, and the statements that it keeps for `gte.search`."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from functools import cache

from psycopg import sql
from sqlalchemy import Connection

from gte_pg.database import (
    ensure_schema,
    has_schema,
    load_all,
    mark_schema,
    plain_connection,
    registered_as,
    run,
    shipped_schema,
)
from gte_pg.declaration import Declaration, KeyColumn
from gte_pg.errors import DatabaseError
from gte_pg.search import stored_statement

logger = logging.getLogger(__name__)

_SAMPLE = Declaration(
    schema="s",
    table="t",
    key=(KeyColumn("k", "bigint"),),
    source=("c",),
    name="e",
    model="m",
    generation="m@1/float32/64",
    dimensions=64,
    sparse_dimensions=100,
)
_SAMPLES = (_SAMPLE, replace(_SAMPLE, companion=("s", "t_e"), sparse_dimensions=None))


def prepare_database(connection: Connection) -> None:
    """See to it that the schema is there and this gte-pg's, in the caller's transaction.

    Harmless and quick where it is so already. Raises DatabaseError.
    """
    if connection.dialect.name != "postgresql":
        raise DatabaseError(
            f"gte-pg needs Postgres, and this is {connection.dialect.name}: a table with an embedding "
            "cannot be made here"
        )
    if not has_schema(connection, _mark()):
        refresh_database(connection)


def refresh_database(connection: Connection) -> None:
    """Create or upgrade the schema and what it keeps, whatever is there.

    The statements of every embedding are written anew: this version of gte-pg may search in another
    way than the one that stored them, and a column may have been renamed. Raises DatabaseError.
    """
    ensure_schema(connection)
    problems: list[DatabaseError] = []
    for registered in load_all(plain_connection(connection), problems=problems):
        run(connection, store_statements(registered.declaration))
    for problem in problems:
        logger.warning("%s", problem)
    mark_schema(connection, _mark())


@cache
def _mark() -> str:
    """Return what tells the schema and the searches of this gte-pg from those of any other."""
    made = [
        shipped_schema(),
        *(stored_statement(one, exact=exact) for one in _SAMPLES for exact in (False, True)),
    ]
    return hashlib.sha256("\0".join(made).encode()).hexdigest()[:12]


def store_statements(declaration: Declaration) -> sql.Composed:
    """Return the statement that keeps how an embedding is searched."""
    return sql.SQL(
        "UPDATE gte.embedding SET search_statement = {}, exact_statement = {} WHERE {}"
    ).format(
        sql.Literal(stored_statement(declaration)),
        sql.Literal(stored_statement(declaration, exact=True)),
        registered_as(declaration),
    )
