"""Run a composed statement on whatever connection the caller holds."""

from __future__ import annotations

from psycopg import sql
from sqlalchemy import Connection


def run(connection: Connection, statement: sql.Composable) -> None:
    """Run one statement as it stands: `%` and `:` in it mean nothing special."""
    connection.exec_driver_sql(
        statement.as_string(), execution_options={"no_parameters": True}
    ).close()
