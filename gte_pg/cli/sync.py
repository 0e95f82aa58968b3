from __future__ import annotations

import json
import signal
import sys
import threading

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.progress import show_bar, show_lines
from gte_pg.database import connect, load_all
from gte_pg.encoder import load_encoder
from gte_pg.sync import count_broken, sync_once
from gte_pg.sync import repair as repair_rows
from gte_pg.sync import watch as keep_watching


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--watch", is_flag=True, help="Keep going: encode what is written from now on.")
@click.option("--check", is_flag=True, help="Only count rows whose vector is not their text's.")
@click.option("--repair", is_flag=True, help="Make such rows pending first.")
@click.option(
    "--batch", default=256, show_default=True, type=click.IntRange(1, 10_000), help="Rows a batch."
)
@dsn_option
def sync(table: str | None, watch: bool, check: bool, repair: bool, batch: int, dsn: str) -> None:
    """Encode every pending row and build the search indexes.

    Any number of these may run, on any number of machines. On a terminal it shows a bar, elsewhere
    it prints JSON Lines. Exit code 1: rows are left, because they failed or others held them; see
    gte-pg status. SIGTERM and Ctrl-C finish the batch in hand.

    What goes past triggers (session_replication_role, pg_restore --disable-triggers, ATTACH of a
    filled partition) can leave a row with a vector that is not its text's: --check reads every row
    and compares, with exit code 1 if there are such rows, and --repair has them encoded again.
    """
    if check:
        _check(dsn, table)
        return
    stop = threading.Event()
    show = show_bar if sys.stderr.isatty() else show_lines
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if watch:
        for registered, progress in keep_watching(
            dsn, load_encoder, stop=stop, table=table, batch_rows=batch
        ):
            if progress.stage == "done" and progress.encoded + progress.failed:
                show(registered.declaration.written, [progress])
        return
    left = 0
    with connect(dsn) as connection:
        embeddings = load_all(connection, table)
        if not embeddings:
            click.echo("there are no embeddings to sync; make one: gte-pg add TABLE …", err=True)
        for registered in embeddings:
            if repair:
                click.echo(f"{repair_rows(connection, registered)} rows repaired", err=True)
            steps = sync_once(connection, registered, load_encoder, batch_rows=batch, stop=stop)
            left += show(registered.declaration.written, steps).left
    if left:
        raise click.ClickException(f"{left} rows are still pending; see gte-pg status")


def _check(dsn: str, table: str | None) -> None:
    broken = 0
    with connect(dsn) as connection:
        for registered in load_all(connection, table):
            found = count_broken(connection, registered)
            name = registered.declaration.name
            relation = registered.declaration.written
            click.echo(json.dumps({"table": relation, "embedding": name, "broken": found}))
            broken += found
    if broken:
        raise click.ClickException(f"{broken} rows are broken; gte-pg sync --repair mends them")
