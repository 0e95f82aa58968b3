from __future__ import annotations

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.print_sql import print_statements
from gte_pg.cli.words import rows
from gte_pg.database import connect, load
from gte_pg.errors import DatabaseError
from gte_pg.sync import retry_failures, retry_statement, while_free


@click.command()
@click.argument("table")
@click.argument("keys", nargs=-1)
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--print-sql", is_flag=True, help="Print the statement instead of running it.")
@dsn_option
def retry(table: str, keys: tuple[str, ...], name: str | None, print_sql: bool, dsn: str) -> None:
    """Let failed and parked rows of TABLE be tried again: all, or those with these KEYS.

    A composite key is written as a JSON array: '["eu", 42]'. Exit code 1: none of the KEYS is that of a row
    that failed.
    """
    with connect(dsn) as connection:
        registered = load(connection, table, name)
        if print_sql:
            print_statements([retry_statement(registered, list(keys) or None)])
            return
        with while_free(connection, registered):
            retried = retry_failures(connection, registered, list(keys) or None)
    if keys and not retried:
        raise DatabaseError(
            f"no failed row of {registered.declaration.written} has the key {' or '.join(keys)}; "
            "see gte-pg status"
        )
    click.echo(f"{rows(retried)} will be tried again", err=True)
