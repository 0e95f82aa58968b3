"""Prepare a database: gte-pg's own schema, and the statements that it keeps for `gte.search`."""

from __future__ import annotations

import logging

from psycopg import sql
from sqlalchemy import Connection

from gte_pg.database import ensure_schema, load_all, plain_connection, registered_as, run
from gte_pg.declaration import Declaration
from gte_pg.errors import DatabaseError
from gte_pg.search import stored_statement

logger = logging.getLogger(__name__)


def prepare_database(connection: Connection) -> None:
    """Create or upgrade the schema in the caller's transaction; harmless when it is current.

    The statements of every embedding are written anew: this version of gte-pg may search in another
    way than the one that stored them, and a column may have been renamed. Raises DatabaseError.
    """
    if connection.dialect.name != "postgresql":
        raise DatabaseError(
            f"gte-pg needs Postgres, and this is {connection.dialect.name}: a table with an embedding "
            "cannot be made here"
        )
    ensure_schema(connection)
    problems: list[DatabaseError] = []
    for registered in load_all(plain_connection(connection), problems=problems):
        run(connection, store_statements(registered.declaration))
    for problem in problems:
        logger.warning("%s", problem)


def store_statements(declaration: Declaration) -> sql.Composed:
    """Return the statement that keeps how an embedding is searched."""
    return sql.SQL(
        "UPDATE gte.embedding SET search_statement = {}, exact_statement = {} WHERE {}"
    ).format(
        sql.Literal(stored_statement(declaration)),
        sql.Literal(stored_statement(declaration, exact=True)),
        registered_as(declaration),
    )
