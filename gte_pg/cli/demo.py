from __future__ import annotations

import threading
import time

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.cli.progress import show_bar
from gte_pg.database import connect
from gte_pg.declaration import declared_encoder
from gte_pg.demo import TABLE, prepare_table, read_details
from gte_pg.models import identify
from gte_pg.search import encode_query, search, shared_tokens
from gte_pg.sync import Team, sync_once

_MOST_TOKENS = 4

# The width of the table less its column of text.
_OTHER_COLUMNS = 46


@click.command()
@click.argument("query", default="run a program and capture its output")
@click.option(
    "--model", default="all-MiniLM-L6-v2", show_default=True, help="A model's name or directory."
)
@click.option("--limit", default=10, show_default=True, help="How many rows.")
@dsn_option
def demo(query: str, model: str, limit: int, dsn: str) -> None:
    """Make this machine's Python documentation searchable by meaning and ask it QUERY.

    The first run loads and encodes some thousands of docstrings; later ones only what changed.
    """
    console = Console(stderr=True)
    with connect(dsn) as connection:
        with console.status("reading this Python's documentation"):
            registered = prepare_table(dsn, connection, identify(model))
        show_bar(TABLE, sync_once(connection, registered, Team(dsn, threading.Event())))
        encoder = declared_encoder(registered.declaration)
        started = time.perf_counter()
        vectors = encode_query(encoder, registered.declaration, query)
        encoded = time.perf_counter()
        hits = search(connection, registered, vectors, limit=limit)
        found = time.perf_counter()
        answers = Console()
        grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for heading, width in (("", 2), ("score", 5), ("dense", 5), ("sparse", 6)):
            grid.add_column(heading, width=width, justify="right")
        text_width = max(answers.width - _OTHER_COLUMNS, 20)
        grid.add_column("name, first line", width=text_width, no_wrap=True, overflow="ellipsis")
        grid.add_column("shared tokens", width=16)
        for rank, hit in enumerate(hits, start=1):
            details = read_details(connection, hit.key)
            tokens = shared_tokens(encoder, vectors, details.sparse)
            numbers = (hit.score, hit.dense, hit.sparse)
            grid.add_row(
                str(rank),
                *(f"{number:.3f}" for number in numbers),
                f"[bold]{escape(details.name)}[/bold]\n{escape(details.first_line)}",
                escape(" ".join(list(tokens)[:_MOST_TOKENS])),
            )
    answers.print(grid)
    console.print(
        f"query encoded in {1000 * (encoded - started):.1f} ms, "
        f"rows found in {1000 * (found - encoded):.1f} ms",
        style="dim",
    )
