from __future__ import annotations

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.schema_change import change_schema
from gte_pg.database import connect, load
from gte_pg.install import remove_statements


@click.command()
@click.argument("table")
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@dsn_option
def remove(table: str, name: str | None, print_sql: bool, dsn: str) -> None:
    """Take an embedding off TABLE: its vectors, indexes and triggers."""
    with connect(dsn) as connection:
        present = load(connection, table, name, broken=True)
    change_schema(
        dsn,
        table,
        lambda _database: remove_statements(present.declaration),
        present=[present],
        print_sql=print_sql,
    )
    if not print_sql:
        click.echo(f"{table} no longer has the embedding {present.declaration.name}", err=True)
