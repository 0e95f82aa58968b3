"""Composed statements on their way to the server."""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection


def run(connection: Connection, statement: sql.Composable) -> None:
    """Run one statement as it stands, on SQLAlchemy's connection: `%` and `:` mean nothing special."""
    connection.exec_driver_sql(
        statement.as_string(), execution_options={"no_parameters": True}
    ).close()


def fill(template: sql.SQL, **parts: sql.Composable) -> sql.Composed:
    """Fill a statement that is run with parameters: a `%` in a name is not taken for a placeholder."""
    escaped = {name: sql.SQL(part.as_string().replace("%", "%%")) for name, part in parts.items()}
    return template.format(**escaped)
