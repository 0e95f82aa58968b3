from __future__ import annotations

import threading

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.encoded_text import says_what_is_encoded
from gte_pg.cli.precision import precision_option
from gte_pg.cli.print_sql import print_comment
from gte_pg.cli.schema_change import change_schema
from gte_pg.database import (
    check_names_are_free,
    check_source_text,
    connect,
    engine,
    find_table,
    load,
    load_all,
    postgres_version,
)
from gte_pg.declaration import Layout, OnChange, Storage, pending_index
from gte_pg.errors import DatabaseError
from gte_pg.install import add_statements, prepare_database
from gte_pg.models import Precision, identify
from gte_pg.sync.copy_keys import copy_keys
from gte_pg.sync.indexes import build_index, is_partitioned


@click.command()
@click.argument("table")
@click.option(
    "--source",
    "sources",
    multiple=True,
    help="A column whose text is encoded; several, or several with commas, are joined by a newline.",
)
@click.option(
    "--template",
    help="Instead of --source: the text line by line, with columns in braces: '{title} by {author}'. A "
    "line whose columns are all empty is left out.",
)
@click.option(
    "--expression",
    help="Instead of --source: an immutable SQL expression with columns in braces: "
    "\"{title} || ' ' || {year}::text\".",
)
@click.option("--model", required=True, help="A known model's name, or a model's directory.")
@click.option("--name", default="embedding", show_default=True, help="The embedding's column.")
@click.option("--dimensions", type=int, help="Keep so many dimensions (elastic models only).")
@click.option(
    "--storage",
    type=click.Choice(["vector", "halfvec"]),
    default="vector",
    show_default=True,
    help="vector: float32, exact. halfvec: half the size, scores within 0.002.",
)
@click.option(
    "--index-dimensions",
    type=int,
    help="Let the dense index hold so many leading dimensions, for models that are trained for it: it is "
    "smaller, not faster, and rows are still scored by whole vectors. Default: all.",
)
@precision_option
@click.option(
    "--layout",
    type=click.Choice(["columns", "companion"]),
    default="columns",
    show_default=True,
    help="columns: the vectors are on the row. companion: in a table beside it, for tables that are "
    "updated often, have audit triggers, are written in REPEATABLE READ, or whose rows must not grow.",
)
@click.option(
    "--on-change",
    type=click.Choice(["clear", "keep"]),
    default="clear",
    show_default=True,
    help="When the text changes – clear: the row is not found until it is encoded again. keep: it is "
    "found by its old text until then.",
)
@click.option("--print-sql", is_flag=True, help="Print the statements instead of running them.")
@dsn_option
def add(
    table: str,
    sources: tuple[str, ...],
    template: str | None,
    expression: str | None,
    model: str,
    name: str,
    dimensions: int | None,
    storage: Storage,
    precision: Precision,
    layout: Layout,
    on_change: OnChange,
    index_dimensions: int | None,
    print_sql: bool,
    dsn: str,
) -> None:
    """Put an embedding on an existing TABLE, written as in SQL: articles, app."My Table".

    Adds its columns and triggers in one short transaction, without reading or rewriting the table, and then
    the rows of a companion and the index of pending rows without blocking anybody. Every row with text is
    then pending: run gte-pg sync.
    """
    if not says_what_is_encoded(sources, template, expression):
        raise click.UsageError("say what is encoded: --source, --template or --expression")
    identity = identify(model, precision=precision)
    with connect(dsn) as connection:
        found = find_table(connection, table)
        declaration = found.declare(
            identity,
            sources,
            template=template,
            expression=expression,
            name=name,
            dimensions=dimensions,
            storage=storage,
            layout=layout,
            on_change=on_change,
            index_dimensions=index_dimensions,
        )
        there = [one.declaration.name for one in load_all(connection, table)]
        if name in there:
            raise DatabaseError(
                f"the table {table} already has an embedding called {name!r}: remove it first "
                f"(gte-pg remove {table} --name {name}) or give this one another --name"
            )
        check_names_are_free(connection, declaration)
    with engine(dsn).begin() as transaction:
        check_source_text(transaction, declaration)
        if not print_sql:
            prepare_database(transaction)
    change_schema(
        dsn,
        table,
        lambda database: add_statements(declaration, postgres=postgres_version(database)),
        print_sql=print_sql,
    )
    if print_sql:
        with connect(dsn) as connection:
            partitioned = is_partitioned(connection, declaration)
        queue = pending_index(declaration).create(declaration, concurrently=not partitioned)
        where = (
            "Holds up writers; gte-pg sync does it without"
            if partitioned
            else "Not in a transaction"
        )
        print_comment(f"{where}:\n{queue.as_string()};")
        if layout == "companion":
            print_comment("The rest is gte-pg sync's: the keys of the rows that are there.")
    else:
        with connect(dsn) as connection:
            registered = load(connection, table, name)
            # A worker may be a role that must not do either. Where somebody else builds one, it is theirs.
            copy_keys(connection, registered, threading.Event())
            build_index(connection, registered, pending_index(declaration))
        click.echo(
            f"{table} has the embedding {name} ({declaration.generation}); now: gte-pg sync",
            err=True,
        )
