"""`--dsn`, the same for every command that works on a database."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from gte_pg.database import embedded_data_directory, libpq_dsn, start_embedded
from gte_pg.errors import DatabaseError

Command = TypeVar("Command", bound=Callable[..., Any])


def dsn_option(command: Command) -> Command:
    """Add `--dsn`; the command receives a DSN that can be read, the embedded server's if none is given."""
    return click.option(
        "--dsn",
        callback=_or_embedded,
        help="The database, as a connection string; also GTE_PG_DSN. Default: the embedded Postgres.",
    )(command)


def _or_embedded(_context: click.Context, _parameter: click.Parameter, dsn: str | None) -> str:
    if dsn is None:
        # Read here: to click an empty variable is none.
        dsn = os.environ.get("GTE_PG_DSN")
    if dsn is not None and not dsn.strip():
        raise DatabaseError(
            "the connection string is empty: --dsn or GTE_PG_DSN is given, but nothing is in it, perhaps "
            "because it comes from a variable that is not set. Write postgresql://…, or leave both out to "
            "use the embedded Postgres"
        )
    if dsn is not None:
        return libpq_dsn(dsn)
    click.echo(
        "gte-pg: no --dsn and no GTE_PG_DSN: using the embedded Postgres, whose data is in "
        f"{embedded_data_directory()}",
        err=True,
    )
    dsn = start_embedded()
    click.echo(f'gte-pg: while this runs, psql and applications reach it at "{dsn}"', err=True)
    return dsn
