from __future__ import annotations

import click

from gte_pg.cli.database import dsn_option
from gte_pg.database import engine
from gte_pg.install import prepare_database


@click.command()
@dsn_option
def init(dsn: str) -> None:
    """Install pgvector where it is missing and create or upgrade the gte schema.

    `gte-pg add` does it too; this is for those who hand out rights one by one.
    """
    with engine(dsn).begin() as connection:
        prepare_database(connection)
