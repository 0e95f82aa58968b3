from __future__ import annotations

from typing import Any

import click
import psycopg
import sqlalchemy as sa
from psycopg import sql

from gte_pg.cli.database import dsn_option
from gte_pg.cli.print_sql import print_statements
from gte_pg.database import engine
from gte_pg.install import refresh_database

# Statements that only ask are not printed; these do something.
_ASKING = ("SELECT", "SAVEPOINT", "RELEASE")
_DOING = ("SELECT set_config(", "SELECT pg_advisory_xact_lock(")


@click.command()
@click.option(
    "--print-sql",
    is_flag=True,
    help="Print the statements instead: they are run to find out which they are, and undone.",
)
@dsn_option
def init(print_sql: bool, dsn: str) -> None:
    """Install pgvector where it is missing and create or upgrade the gte schema.

    `gte-pg add` does it too; this is for those who hand out rights one by one. After an upgrade of
    gte-pg, or when a key column was renamed, it brings what the database keeps up to date.
    """
    with engine(dsn).connect() as connection:
        statements: list[sql.SQL] = []

        def remember(
            _connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
        ) -> None:
            begun = statement.lstrip()
            if begun.startswith(_DOING) or not begun.upper().startswith(_ASKING):
                written = psycopg.ClientCursor(cursor.connection)
                text = written.mogrify(statement.encode(), parameters) if parameters else statement
                statements.append(sql.SQL(text))

        if print_sql:
            sa.event.listen(connection, "before_cursor_execute", remember)
        refresh_database(connection)
        if print_sql:
            connection.rollback()
            print_statements(statements)
        else:
            connection.commit()
            click.echo("the schema gte is up to date", err=True)
