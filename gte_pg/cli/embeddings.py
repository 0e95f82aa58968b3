"""The embeddings that a command is about: those of one table, or all; that there are none is said."""

from __future__ import annotations

import click

from gte_pg.database import Connection, Registered, load_all
from gte_pg.errors import DatabaseError


def find_embeddings(
    connection: Connection, table: str | None, problems: list[DatabaseError]
) -> list[Registered]:
    """Load them; what is wrong with others is added to `problems`. DatabaseError if `table` has none."""
    found = load_all(connection, table, problems=problems)
    if not found and not problems:
        if table is not None:
            raise no_embedding(table)
        click.echo("there are no embeddings; make one: gte-pg add TABLE …", err=True)
    return found


def no_embedding(table: str) -> DatabaseError:
    """Return the error that a table has none."""
    return DatabaseError(
        f"the table {table} has no embedding; make one: gte-pg add {table} --source COLUMN"
    )
