from __future__ import annotations

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.schema_change import change_schema
from gte_pg.database import connect, load
from gte_pg.install import remove_statements, standbys_of


@click.command()
@click.argument("table")
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@dsn_option
def remove(table: str, name: str | None, print_sql: bool, dsn: str) -> None:
    """Take an embedding off TABLE: its vectors, indexes and triggers.

    NAME_next and NAME_previous of a switch to another model go along.
    """
    with connect(dsn) as connection:
        present = load(connection, table, name, broken=True)
        leaving = [present, *standbys_of(connection, present.declaration)]
    change_schema(
        dsn,
        table,
        lambda _database: [
            statement for one in leaving for statement in remove_statements(one.declaration)
        ],
        present=leaving,
        print_sql=print_sql,
    )
    if not print_sql:
        names = " and ".join(one.declaration.name for one in leaving)
        click.echo(f"{table} no longer has the embedding {names}", err=True)
