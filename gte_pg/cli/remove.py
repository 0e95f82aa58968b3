from __future__ import annotations

import click

from gte_pg.cli.database import LOCK_TIMEOUT, dsn_option
from gte_pg.database import connect, engine, load, run
from gte_pg.install import remove_statements


@click.command()
@click.argument("table")
@click.option("--name", help="Which embedding, where the table has several.")
@dsn_option
def remove(table: str, name: str | None, dsn: str) -> None:
    """Take an embedding off TABLE: its columns with all vectors, indexes and triggers."""
    with connect(dsn) as connection:
        declaration = load(connection, table, name).declaration
    with engine(dsn).begin() as transaction:
        run(transaction, LOCK_TIMEOUT)
        for statement in remove_statements(declaration):
            run(transaction, statement)
    click.echo(f"{table} no longer has the embedding {declaration.name}", err=True)
