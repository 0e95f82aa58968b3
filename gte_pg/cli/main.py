"""The command group, and the one place where an error becomes a message on stderr."""

from __future__ import annotations

import errno
import os
import sys

import click
import psycopg
from sqlalchemy.exc import DBAPIError

from gte_pg.cli.add import add
from gte_pg.cli.alter import alter
from gte_pg.cli.demo import demo
from gte_pg.cli.encode import encode
from gte_pg.cli.eval import evaluate
from gte_pg.cli.explain import explain
from gte_pg.cli.init import init
from gte_pg.cli.models import models
from gte_pg.cli.recall import recall
from gte_pg.cli.remove import remove
from gte_pg.cli.retry import retry
from gte_pg.cli.score import score
from gte_pg.cli.search import search
from gte_pg.cli.serve import serve
from gte_pg.cli.status import status
from gte_pg.cli.switch import switch
from gte_pg.cli.sync import sync
from gte_pg.database import said
from gte_pg.errors import GtePgError


class Commands(click.Group):
    def invoke(self, context: click.Context) -> object:
        if sys.stdout is None:
            raise click.ClickException("stdout is closed: send it to a file, or to /dev/null")
        try:
            done = super().invoke(context)
            sys.stdout.flush()
            return done
        except (GtePgError, psycopg.Error, DBAPIError) as error:
            raise click.ClickException(said(error)) from error
        except OSError as error:
            # Whoever reads a pipe may leave when they have seen enough: click sees to it.
            if error.errno == errno.EPIPE or _can_print():
                raise
            raise click.ClickException(f"cannot write to stdout: {error.strerror}") from error


def _can_print() -> bool:
    """Try it: the error itself does not say of which file it is. If not, nothing more is tried."""
    try:
        click.echo()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


@click.group(cls=Commands)
@click.version_option(package_name="gte-pg", prog_name="gte-pg")
def main() -> None:
    """Make any Postgres table searchable by meaning."""


for command in (
    demo,
    init,
    add,
    alter,
    remove,
    sync,
    switch,
    status,
    retry,
    search,
    explain,
    recall,
    evaluate,
    serve,
    encode,
    score,
    models,
):
    main.add_command(command)
