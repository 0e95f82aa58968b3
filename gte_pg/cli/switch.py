from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.exc import DBAPIError

from gte_pg.cli.database import dsn_option
from gte_pg.cli.precision import precision_option
from gte_pg.cli.print_sql import print_comment
from gte_pg.cli.progress import show
from gte_pg.cli.schema_change import change_schema
from gte_pg.cli.stopping import told_to_stop
from gte_pg.cli.words import rows_are
from gte_pg.database import (
    Connection,
    Registered,
    check_names_are_free,
    connect,
    find_table,
    load,
    load_all,
    plain_connection,
    postgres_version,
    said,
)
from gte_pg.declaration import Declaration, copy_grants, declared_encoder
from gte_pg.errors import DatabaseError, GtePgError, QueryError
from gte_pg.install import (
    add_statements,
    check_goes_on,
    check_is_like,
    count_lost,
    exchange_statements,
    fill_up,
    next_name,
    next_of,
    previous_name,
    previous_of,
)
from gte_pg.models import Precision, identify
from gte_pg.search.recall import dense_recall, sample_questions
from gte_pg.sync import Team, clock, missing_search_indexes, sync_once
from gte_pg.sync.copy_keys import is_copied

# Enough to tell an index that does its work from one that does not.
_SAMPLED_ROWS = 50


@click.command()
@click.argument("table")
@click.option("--model", help="The new model: a known model's name, or a model's directory.")
@click.option("--dimensions", type=int, help="Keep so many dimensions (elastic models only).")
@precision_option
@click.option("--name", default="embedding", show_default=True, help="Which embedding.")
@click.option(
    "--least-recall",
    default=0.9,
    show_default=True,
    help="Do not exchange if the new dense index has a lower recall@10 on rows of the table.",
)
@click.option(
    "--print-sql",
    is_flag=True,
    help="Print the statements instead of running them: those that add NAME_next or, when its rows are "
    "encoded, the exchange.",
)
@click.option("--back", is_flag=True, help="Put the former model back in its place, at once.")
@dsn_option
def switch(
    table: str,
    model: str | None,
    dimensions: int | None,
    precision: Precision,
    name: str,
    least_recall: float,
    print_sql: bool,
    back: bool,
    dsn: str,
) -> None:
    """Switch the embedding of TABLE to another model, while the present one goes on serving.

    Adds NAME_next beside it, encodes every row, builds the indexes, measures the recall of the dense
    one, and then lets the two exchange names in one short transaction. Interrupted, the same command
    goes on where it was. The former embedding stays as NAME_previous, kept in step by gte-pg sync:
    --back exchanges them again, the one that was left being NAME_next then, and gte-pg remove TABLE
    --name NAME_previous gives its space back.

    An application that encodes by itself (the ORM's flush, its own queries) must be told of the new
    model in the same moment: until it is, what it encodes by the old one is refused, never mixed.
    """
    if back == (model is not None):
        raise click.UsageError("say either --model MODEL, or --back")
    with connect(dsn) as connection:
        present = load(connection, table, name)
        former = _find(connection, table, previous_name(name))
        if model is None:
            if former is None:
                raise DatabaseError(f"the table {table} has no {previous_name(name)} to go back to")
            advice = f"Make it like that: gte-pg alter {table} --name {former.declaration.name} …"
            check_is_like(present.declaration, former.declaration, advice)
            _exchange(dsn, present, next_name(name), former, print_sql=print_sql)
            return
        leaving = previous_of(present.declaration)
        identity = identify(model, precision=precision)
        wanted = next_of(find_table(connection, table), present.declaration, identity, dimensions)
        if former is not None:
            raise DatabaseError(
                f"the table {table} still has {previous_name(name)} from the last switch; when you no "
                f"longer need the way back: gte-pg remove {table} --name {previous_name(name)}"
            )
        coming = _find(connection, table, wanted.name)
        for made in (leaving,) if coming else (wanted, leaving):
            check_names_are_free(connection, made)
    if coming is not None:
        check_goes_on(table, present.declaration, coming.declaration, wanted.generation)
    if print_sql:
        _print_next_step(dsn, table, present, wanted, coming)
        return
    if coming is None:
        # Nothing is added for a model that cannot be had.
        declared_encoder(wanted)
        _add(dsn, present, wanted)
        with connect(dsn) as connection:
            coming = load(connection, table, wanted.name)
    with _telling_what_is_left(table, coming.declaration):
        _fill(dsn, present.declaration, coming)
        _verify(dsn, coming.declaration, least_recall)
        _exchange(dsn, present, previous_name(name), coming)


def _print_next_step(
    dsn: str, table: str, present: Registered, wanted: Declaration, coming: Registered | None
) -> None:
    if coming is None:
        _add(dsn, present, wanted, print_sql=True)
        print_comment(
            f"Now encode its rows: gte-pg sync --table {table}\n"
            "Then this command with --print-sql again prints the exchange."
        )
        return
    with connect(dsn) as connection:
        _check_filled(connection, table, present.declaration, coming)
    _exchange(dsn, present, previous_name(present.declaration.name), coming, print_sql=True)


def _add(dsn: str, present: Registered, wanted: Declaration, *, print_sql: bool = False) -> None:
    def statements(database: sa.Connection) -> list[sql.Composed]:
        if _find(plain_connection(database), wanted.written, wanted.name) is not None:
            raise DatabaseError(
                f"{present}: another command has begun a switch since this one read of it; begin again to "
                "go on with that"
            )
        added = add_statements(wanted, postgres=postgres_version(database), standby=True)
        if wanted.layout == "columns":
            return added
        return [*added, copy_grants(present.declaration, wanted)]

    change_schema(dsn, wanted.written, statements, present=[present], print_sql=print_sql)


@contextmanager
def _telling_what_is_left(table: str, coming: Declaration) -> Iterator[None]:
    """Let errors end with what has become of the table, and what to do about it."""
    try:
        yield
    except (GtePgError, psycopg.Error, DBAPIError) as error:
        raise DatabaseError(
            f"{said(error)}\n{table} has {coming.name}; the same command goes on, or give it up: "
            f"gte-pg remove {table} --name {coming.name}"
        ) from error


def _check_filled(
    connection: Connection, table: str, present: Declaration, coming: Registered
) -> None:
    """Raise DatabaseError if searches would find less after the exchange."""
    lost = count_lost(connection, present, coming.declaration, since=clock(connection))
    missing = [index.name for index in missing_search_indexes(connection, coming.declaration)]
    if not is_copied(connection, coming):
        lacks = "not all of its rows are there"
    elif lost:
        lacks = f"{rows_are(lost)} not encoded by the new model"
    elif missing:
        lacks = f"it has no index {', '.join(missing)}"
    else:
        return
    raise DatabaseError(
        f"{coming.declaration.name} cannot take over yet: {lacks}. Run gte-pg sync --table {table}, then "
        "this command again"
    )


def _fill(dsn: str, present: Declaration, coming: Registered) -> None:
    """Encode every row that has a vector now; rows that are written meanwhile are never all done."""
    with told_to_stop() as stop:
        team = Team(dsn, stop)
        with connect(dsn) as connection:
            begun = clock(connection)
            show(coming.declaration, sync_once(connection, coming, team))
        lost = fill_up(team, present, coming, since=begun)
    if stop.is_set():
        raise DatabaseError("stopped")
    if lost:
        raise DatabaseError(f"{rows_are(lost)} not encoded by the new model yet; see gte-pg status")


def _verify(dsn: str, coming: Declaration, least_recall: float) -> None:
    """Compare what the new dense index finds with a scan, for some rows of the table."""
    with connect(dsn) as connection:
        try:
            questions = sample_questions(connection, coming, _SAMPLED_ROWS)
        except QueryError:
            return  # no row has a vector, so there is nothing to find
        found = dense_recall(connection, coming, questions)
    click.echo(f"recall@10 of the new index: {found.recall:.3f} on {found.queries} rows", err=True)
    if found.recall < least_recall:
        raise DatabaseError(
            f"that is below {least_recall}: the present model goes on serving. Build the index on "
            f"{coming.dense_column} with a larger ef_construction, or accept it with --least-recall"
        )


def _exchange(
    dsn: str,
    leaving: Registered,
    leaving_name: str,
    coming: Registered,
    *,
    print_sql: bool = False,
) -> None:
    former, new = leaving.declaration, coming.declaration

    def statements(database: sa.Connection) -> list[sql.Composed]:
        return exchange_statements(former, leaving_name, new, postgres=postgres_version(database))

    change_schema(dsn, former.written, statements, present=[leaving, coming], print_sql=print_sql)
    if not print_sql:
        click.echo(
            f"{former.written}: {former.name} is {new.generation} now; the former is {leaving_name}",
            err=True,
        )


def _find(connection: Connection, table: str, name: str) -> Registered | None:
    found = [one for one in load_all(connection, table) if one.declaration.name == name]
    return found[0] if found else None
