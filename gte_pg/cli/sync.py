from __future__ import annotations

import signal
import sys
import threading

import click

from gte_pg.cli.database import dsn_option
from gte_pg.cli.progress import show_bar, show_lines
from gte_pg.database import connect, load_all
from gte_pg.encoder import load_encoder
from gte_pg.sync import sync_once
from gte_pg.sync import watch as keep_watching


@click.command()
@click.option("--table", help="Only this table.")
@click.option("--watch", is_flag=True, help="Keep going: encode what is written from now on.")
@click.option(
    "--batch", default=256, show_default=True, type=click.IntRange(1, 10_000), help="Rows a batch."
)
@dsn_option
def sync(table: str | None, watch: bool, batch: int, dsn: str) -> None:
    """Encode every pending row and build the search indexes.

    Any number of these may run, on any number of machines. On a terminal it shows a bar, elsewhere
    it prints JSON Lines. Exit code 1: rows are left, because they failed or others held them; see
    gte-pg status. SIGTERM and Ctrl-C finish the batch in hand.
    """
    stop = threading.Event()
    show = show_bar if sys.stderr.isatty() else show_lines
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if watch:
        for registered, progress in keep_watching(
            dsn, load_encoder, stop=stop, table=table, batch_rows=batch
        ):
            if progress.stage == "done" and progress.encoded + progress.failed:
                show(registered.declaration.relation.as_string(), [progress])
        return
    left = 0
    with connect(dsn) as connection:
        embeddings = load_all(connection, table)
        if not embeddings:
            click.echo("there are no embeddings to sync; make one: gte-pg add TABLE …", err=True)
        for registered in embeddings:
            steps = sync_once(connection, registered, load_encoder, batch_rows=batch, stop=stop)
            left += show(registered.declaration.relation.as_string(), steps).left
    if left:
        raise click.ClickException(f"{left} rows are still pending; see gte-pg status")
