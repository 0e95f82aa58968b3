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
from gte_pg.sync import list_failures
from gte_pg.sync import status as count

_MOST_ERRORS = 5


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an embedding.")
@dsn_option
def status(table: str | None, as_json: bool, dsn: str) -> None:
    """Show for every embedding how many rows are encoded, pending and failed, and since when.

    Rows that failed are listed with their errors: SELECT * FROM gte.failures has them all.
    """
    grid = Table("embedding", box=SIMPLE_HEAD)
    for number in ("rows", "encoded", "pending", "oldest", "rows/s", "failed", "parked"):
        grid.add_column(number, justify="right", min_width=len(number))
    errors: list[str] = []
    with connect(dsn) as connection:
        for registered in load_all(connection, table):
            declaration = registered.declaration
            found = count(connection, registered)
            if as_json:
                names = {"table": declaration.written, "embedding": declaration.name}
                model = {"model": declaration.model, "generation": declaration.generation}
                click.echo(json.dumps(names | dataclasses.asdict(found) | model))
            title = f"{declaration.written}: {declaration.name}"
            grid.add_row(
                f"{escape(title)}\n[dim]{escape(declaration.generation)}[/dim]",
                *(f"{count:,}" for count in (found.rows, found.encoded, found.pending)),
                _age(found.oldest_pending_seconds),
                f"{found.rows_per_second:,.1f}",
                *(f"{count:,}" for count in (found.failed, found.parked)),
            )
            for failure in list_failures(connection, registered, most=_MOST_ERRORS):
                errors.append(f"{title}, row {failure.key}: {failure.error}")
    if not as_json:
        Console().print(grid)
        for error in errors:
            click.echo(error)


def _age(seconds: float | None) -> str:
    """Write an age in its two largest units: 3 d 4 h, 12 min 5 s, 0.4 s."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    first = next(place for place, (_, length) in enumerate(units) if seconds >= length)
    words = []
    for unit, length in units[first : first + 2]:
        words.append(f"{int(seconds // length)} {unit}")
        seconds %= length
    return " ".join(words)
