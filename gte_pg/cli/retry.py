from __future__ import annotations

import click

from gte_pg.cli.database import dsn_option
from gte_pg.database import connect, load
from gte_pg.sync import retry_failures


@click.command()
@click.argument("table")
@click.argument("keys", nargs=-1)
@click.option("--name", help="Which embedding, where the table has several.")
@dsn_option
def retry(table: str, keys: tuple[str, ...], name: str | None, dsn: str) -> None:
    """Let failed and parked rows of TABLE be tried again: all, or those with these KEYS.

    A composite key is written as a JSON array of texts: '["eu", "42"]'.
    """
    with connect(dsn) as connection:
        retried = retry_failures(connection, load(connection, table, name), list(keys) or None)
    click.echo(f"{retried} rows will be tried again", err=True)
