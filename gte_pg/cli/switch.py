from __future__ import annotations

import signal
import threading

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.precision import precision_option
from gte_pg.cli.progress import show
from gte_pg.cli.schema_change import change_schema
from gte_pg.database import (
    Connection,
    Registered,
    connect,
    find_table,
    load,
    load_all,
    postgres_version,
)
from gte_pg.errors import DatabaseError
from gte_pg.install import add_statements, exchange_statements, next_name, previous_name
from gte_pg.models import ModelIdentity, Precision, identify
from gte_pg.sync import Team, sync_once


@click.command()
@click.argument("table")
@click.option("--model", help="The new model: a known model's name, or a model's directory.")
@click.option("--dimensions", type=int, help="Keep so many dimensions (elastic models only).")
@precision_option
@click.option("--name", default="embedding", show_default=True, help="Which embedding.")
@click.option("--back", is_flag=True, help="Put the former model back in its place, at once.")
@dsn_option
def switch(
    table: str,
    model: str | None,
    dimensions: int | None,
    precision: Precision,
    name: str,
    back: bool,
    dsn: str,
) -> None:
    """Switch the embedding of TABLE to another model, while the present one goes on serving.

    Adds NAME_next beside it, encodes every row, builds the indexes, and then lets the two exchange
    names in one short transaction. Interrupted, the same command goes on where it was. The former
    embedding stays as NAME_previous, kept in step by gte-pg sync: --back exchanges them again, and
    gte-pg remove TABLE --name NAME_previous gives its space back.

    An application that encodes by itself (the ORM's flush, its own queries) must be told of the new
    model in the same moment: until it is, what it encodes by the old one is refused, never mixed.
    """
    if back == (model is not None):
        raise click.UsageError("say either --model MODEL, or --back")
    with connect(dsn) as connection:
        present = load(connection, table, name)
        if back:
            _exchange(dsn, present, next_name(name), _named(connection, table, previous_name(name)))
            click.echo(f"{table}: {name} is what was {previous_name(name)}", err=True)
            return
        assert model is not None
        identity = identify(model, precision=precision)
        if _find(connection, table, previous_name(name)) is not None:
            raise DatabaseError(
                f"the table {table} still has {previous_name(name)} from the last switch; when you no "
                f"longer need the way back: gte-pg remove {table} --name {previous_name(name)}"
            )
        coming = _coming(dsn, connection, table, present, identity, dimensions)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        title = f"{coming.declaration.written}: {coming.declaration.name}"
        done = show(title, sync_once(connection, coming, Team(dsn, stop)))
        if done.left or stop.is_set():
            raise click.ClickException(
                f"{done.left} rows are not encoded by the new model yet; the present one goes on "
                "serving. See gte-pg status; the same command goes on from here"
            )
        _exchange(dsn, present, previous_name(name), coming)
    click.echo(
        f"{table}: {name} is {coming.declaration.generation} now; the former is "
        f"{previous_name(name)}",
        err=True,
    )


def _coming(
    dsn: str,
    connection: Connection,
    table: str,
    present: Registered,
    model: ModelIdentity,
    dimensions: int | None,
) -> Registered:
    """Return the embedding that is to take over, added now unless it is there from an earlier try."""
    declared = present.declaration
    name = next_name(declared.name)
    wanted = find_table(connection, table).declare(
        model,
        declared.source,
        name=name,
        dimensions=dimensions,
        storage=declared.storage,
        layout=declared.layout,
        on_change=declared.on_change,
    )
    if wanted.generation == declared.generation:
        raise DatabaseError(
            f"{table} has {declared.generation} already: there is nothing to switch"
        )
    there = _find(connection, table, name)
    if there is None:
        change_schema(
            dsn,
            table,
            lambda database: add_statements(wanted, postgres=postgres_version(database)),
        )
        return load(connection, table, name)
    if there.declaration.generation != wanted.generation:
        raise DatabaseError(
            f"the table {table} has {name} for {there.declaration.generation} already; finish that "
            f"switch, or give it up: gte-pg remove {table} --name {name}"
        )
    return there


def _exchange(dsn: str, leaving: Registered, leaving_name: str, coming: Registered) -> None:
    change_schema(
        dsn,
        leaving.declaration.written,
        lambda database: exchange_statements(
            leaving, leaving_name, coming, postgres=postgres_version(database)
        ),
    )


def _find(connection: Connection, table: str, name: str) -> Registered | None:
    found = [one for one in load_all(connection, table) if one.declaration.name == name]
    return found[0] if found else None


def _named(connection: Connection, table: str, name: str) -> Registered:
    found = _find(connection, table, name)
    if found is None:
        raise DatabaseError(f"the table {table} has no {name} to go back to")
    return found
