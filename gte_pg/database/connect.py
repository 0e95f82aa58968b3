"""Connections: psycopg's for reading and for the workers, SQLAlchemy's for schema changes."""

from __future__ import annotations

from typing import Any

import psycopg
import sqlalchemy
from psycopg import sql

from gte_pg.database.dsn import libpq_dsn
from gte_pg.errors import DatabaseError

Connection = psycopg.Connection[tuple[Any, ...]]

# The server converts: what is encoded is what the hash is of, in whatever encoding the database is.
_ENCODING = "UTF8"

# It came with Postgres 14.
_NO_IDLE_LIMIT = """
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'
"""

# pgvector's schema, where the search path lacks it; and that path.
_OUTSIDE = """
SELECT nspname, current_setting('search_path'), current_schemas(false) FROM pg_extension
JOIN pg_namespace n ON n.oid = extnamespace
WHERE extname = 'vector' AND NOT nspname = ANY (current_schemas(true))
"""


def connect(dsn: str) -> Connection:
    """Open an autocommit connection on which pgvector's types are found; blocks until connected."""
    connection = connect_pooled(dsn)
    find_vector_types(connection)
    return connection


def connect_pooled(dsn: str) -> Connection:
    """Open an autocommit connection that may be a pooler's: nothing is set or prepared in its session,
    but for what poolers keep track of.

    Its transactions are READ COMMITTED whatever the database's default is: a row that has changed
    meanwhile is looked at again, and no SERIALIZABLE transaction of an application fails by them.
    """
    connection = _open(dsn, autocommit=True, prepare_threshold=None)
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    return connection


def connect_to_stay(dsn: str) -> Connection:
    """Open a connection as `connect_pooled` does, that may be idle for as long as a model takes to encode.

    A limit on that, of a role or a database, is meant for clients that were forgotten: it is lifted.
    """
    connection = connect_pooled(dsn)
    # Through a pooler it is the pooler's connections that are idle, and it opens new ones.
    if not is_pooled(connection):
        connection.execute(_NO_IDLE_LIMIT)
    return connection


def is_pooled(connection: Connection) -> bool:
    """Whether it is a pooler that has answered: it calls its clients by numbers of its own."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def find_vector_types(connection: Connection) -> None:
    """Put pgvector's schema at the end of the search path, where it lies outside of it."""
    row = connection.execute(_OUTSIDE).fetchone()
    if row:
        schema, path, _ = row
        wanted = ", ".join(filter(None, (str(path), sql.Identifier(str(schema)).as_string())))
        connection.execute("SELECT set_config('search_path', %s, false)", (wanted,))


def vector_path(connection: Connection) -> sql.Composed | None:
    """Return the search path with pgvector's schema at its end, or None where that is on it already."""
    row = connection.execute(_OUTSIDE).fetchone()
    if row is None:
        return None
    schema, _, schemas = row
    return sql.SQL(", ").join(map(sql.Identifier, [*schemas, schema]))


def engine(dsn: str) -> sqlalchemy.Engine:
    """Return an engine that opens one connection at a time to `dsn`, for schema changes.

    Its transactions are READ COMMITTED whatever the database's default is: a snapshot from before a
    table was locked would lack what was written while the lock was waited for.
    """
    return sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: _open(dsn),
        poolclass=sqlalchemy.NullPool,
        isolation_level="READ COMMITTED",
    )


def _open(dsn: str, **options: Any) -> Connection:
    try:
        connection = psycopg.connect(
            libpq_dsn(dsn), application_name="gte-pg", client_encoding=_ENCODING, **options
        )
    except psycopg.OperationalError as error:
        raise DatabaseError(
            f"cannot connect to Postgres ({str(error).strip()}): check --dsn or GTE_PG_DSN"
        ) from error
    # With a backslash for an escape an expression means another text than it does to the capture, and
    # psycopg doubles those of the bytes that it sends.
    if connection.info.parameter_status("standard_conforming_strings") == "off":
        connection.execute("SET standard_conforming_strings = on")
        connection.commit()
    return connection
