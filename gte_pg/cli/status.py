from __future__ import annotations

import dataclasses
import json

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.database import connect, load_all
from gte_pg.sync import status as count


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an embedding.")
@dsn_option
def status(table: str | None, as_json: bool, dsn: str) -> None:
    """Show for every embedding how many rows are encoded, pending and failed."""
    grid = Table("embedding", box=SIMPLE_HEAD)
    for number in ("rows", "encoded", "pending", "failed", "parked"):
        grid.add_column(number, justify="right", min_width=len(number))
    with connect(dsn) as connection:
        for registered in load_all(connection, table):
            declaration = registered.declaration
            found = count(connection, registered)
            if as_json:
                names = {"table": declaration.written, "embedding": declaration.name}
                model = {"model": declaration.model, "generation": declaration.generation}
                click.echo(json.dumps(names | dataclasses.asdict(found) | model))
            numbers = (found.rows, found.encoded, found.pending, found.failed, found.parked)
            title = f"{escape(declaration.written)}: {escape(declaration.name)}"
            grid.add_row(
                f"{title}\n[dim]{escape(declaration.generation)}[/dim]", *map(str, numbers)
            )
    if not as_json:
        Console().print(grid)
