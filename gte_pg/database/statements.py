"""Composed statements on their way to the server."""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection


def run(connection: Connection, statement: sql.Composable) -> None:
    """Run one statement as it stands, on SQLAlchemy's connection: `%` and `:` mean nothing special."""
    connection.exec_driver_sql(
        statement.as_string(), execution_options={"no_parameters": True}
    ).close()


def postgres_version(connection: Connection) -> int:
    """Return the major version of the server."""
    version = connection.dialect.server_version_info
    assert version is not None
    return int(version[0])


def fill(template: sql.SQL, **parts: sql.Composable) -> sql.Composed:
    """Fill a statement that is run with parameters: a `%` in a name is not taken for a placeholder."""
    escaped = {name: sql.SQL(part.as_string().replace("%", "%%")) for name, part in parts.items()}
    return template.format(**escaped)
