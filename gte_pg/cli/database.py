"""`--dsn`, the same for every command that works on a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gte_pg.database import embedded_data_directory, libpq_dsn, start_embedded

Command = TypeVar("Command", bound=Callable[..., Any])


def dsn_option(command: Command) -> Command:
    """Add `--dsn`; the command receives a DSN that can be read, the embedded server's if none is given."""
    return click.option(
        "--dsn",
        envvar="GTE_PG_DSN",
        callback=_or_embedded,
        help="The database, as a connection string; also GTE_PG_DSN. Default: the embedded Postgres.",
    )(command)


def _or_embedded(_context: click.Context, _parameter: click.Parameter, dsn: str | None) -> str:
    if dsn:
        return libpq_dsn(dsn)
    click.echo(
        "gte-pg: no --dsn and no GTE_PG_DSN: using the embedded Postgres, whose data is in "
        f"{embedded_data_directory()}",
        err=True,
    )
    dsn = start_embedded()
    click.echo(f'gte-pg: while this runs, psql and applications reach it at "{dsn}"', err=True)
    return dsn
