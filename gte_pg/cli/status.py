from __future__ import annotations

import dataclasses
import json
from datetime import datetime

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.embeddings import find_embeddings
from gte_pg.cli.problems import noting_problems, raise_problems
from gte_pg.cli.words import rows, time_of_day
from gte_pg.database import Connection, Registered, connect, printable
from gte_pg.errors import DatabaseError
from gte_pg.sync import Status, list_failures, while_free
from gte_pg.sync import status as count

_MOST_ERRORS = 5


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an embedding.")
@dsn_option
def status(table: str | None, as_json: bool, dsn: str) -> None:
    """Show for every embedding how many rows are encoded, pending, failed and held, and since when.

    Held are those that a worker is at: if it is gone, others get them at the time that is said.

    Of tables of more than a million rows the pending ones are counted and all rows estimated. Of the rows
    that failed the last five are listed with their errors: SELECT * FROM gte.failures has them all. Exit
    code 1: the TABLE has no embedding, or of some embedding nothing can be said, because its column is
    gone, say, its table locked, or the role may not read it, or not all rows of it.
    """
    problems: list[DatabaseError] = []
    with connect(dsn) as connection:
        for registered in find_embeddings(connection, table, problems):
            with (
                noting_problems(connection, registered, problems),
                while_free(connection, registered),
            ):
                (_print_json if as_json else _print)(connection, registered)
    raise_problems(problems)


def _print_json(connection: Connection, registered: Registered) -> None:
    declaration = registered.declaration
    names = {"table": declaration.written, "embedding": declaration.name}
    model = {
        "model": declaration.model,
        "generation": declaration.generation,
        "layout": declaration.layout,
        "standby": registered.standby,
    }
    found = dataclasses.asdict(count(connection, registered))
    failures = list_failures(connection, registered, most=_MOST_ERRORS)
    errors = {"failures": [dataclasses.asdict(failure) for failure in failures]}
    click.echo(json.dumps(names | found | errors | model, default=datetime.isoformat))


def _print(connection: Connection, registered: Registered) -> None:
    declaration = registered.declaration
    found = count(connection, registered)
    standby = " (on standby)" if registered.standby else ""
    click.secho(f"{declaration.written}: {declaration.name}{standby}", bold=True)
    click.echo(f"  {declaration.generation}")
    click.echo(f"  {_summary(found)}")
    for failure in list_failures(connection, registered, most=_MOST_ERRORS):
        attempts = "1 attempt" if failure.attempts == 1 else f"{failure.attempts} attempts"
        state = f"parked after {attempts}" if failure.parked else "will be retried"
        click.echo(f"  row {printable(failure.key)}, {state}: {printable(failure.error)}")


def _summary(found: Status) -> str:
    pending = f"{found.pending:,} pending"
    if found.oldest_pending_seconds is not None:
        pending += f" (the oldest for {_age(found.oldest_pending_seconds)})"
    about = "about " if found.estimated else ""
    parts = [f"{about}{rows(found.rows)}", f"{about}{found.encoded:,} encoded", pending]
    if found.failed:
        parts.append(f"{found.failed:,} failed")
    if found.parked:
        parts.append(f"{found.parked:,} parked")
    if found.held_until is not None:
        parts.append(f"{found.held:,} held until {time_of_day(found.held_until)}")
    if found.rows_per_second:
        parts.append(f"{found.rows_per_second:,.1f} rows/s")
    return ", ".join(parts)


def _age(seconds: float) -> str:
    """Write an age in its two largest units: 3 d 4 h, 12 min 5 s, 0.4 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    first = next(place for place, (_, length) in enumerate(units) if seconds >= length)
    words = []
    for unit, length in units[first : first + 2]:
        words.append(f"{int(seconds // length)} {unit}")
        seconds %= length
    return " ".join(words)
