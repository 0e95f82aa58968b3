from __future__ import annotations

import dataclasses
import json

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.database import connect, load
from gte_pg.declaration import declared_encoder
from gte_pg.search import Explanation, Weights, encode_query
from gte_pg.search import explain as explain_row


@click.command()
@click.argument("table")
@click.argument("text")
@click.argument("key")
@click.option("--limit", default=10, show_default=True, help="As in the search to be explained.")
@click.option("--dense-weight", default=1.0, show_default=True)
@click.option("--sparse-weight", default=0.1, show_default=True)
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@dsn_option
def explain(
    table: str,
    text: str,
    key: str,
    limit: int,
    dense_weight: float,
    sparse_weight: float,
    name: str | None,
    as_json: bool,
    dsn: str,
) -> None:
    """Say why the row KEY of TABLE has its score for TEXT, and which index would have found it.

    KEY is the primary key, a composite one as a JSON array of texts: '["eu", "42"]'. Every row is
    scored to tell the rank.
    """
    weights = Weights(dense_weight, sparse_weight)
    with connect(dsn) as connection:
        registered = load(connection, table, name)
        encoder = declared_encoder(registered.declaration)
        query = encode_query(encoder, registered.declaration, text)
        explanation = explain_row(
            connection, registered, encoder, query, key, limit=limit, weights=weights
        )
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(explanation), ensure_ascii=False))
    else:
        _print(explanation, weights, limit)


def _print(row: Explanation, weights: Weights, limit: int) -> None:
    console = Console(highlight=False)
    console.print(
        f"\n{escape(row.key)} is number {row.rank:,} of {row.rows:,}\n"
        f"[bold]{row.score:.4f}[/bold] = {weights.dense:g} × {row.dense:.4f} (dense)"
        f" + {weights.sparse:g} × {row.sparse:.4f} (sparse)\n"
    )
    console.print(f"{_found(row.in_dense_leg)} by the dense index, in a search for {limit}")
    console.print(f"{_found(row.in_token_leg)} by the token index")
    if not row.tokens:
        console.print("\nThe query shares no token with it.")
        return
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("shared token", max_width=32, overflow="fold")
    for heading in ("in the query", "in the row", "product"):
        grid.add_column(heading, justify="right")
    for token in row.tokens:
        numbers = (token.in_query, token.in_row, token.product)
        # The empty string is a token too.
        grid.add_row(escape(repr(token.token)), *(f"{number:.3f}" for number in numbers))
    console.print(grid)


def _found(is_found: bool) -> str:
    return "[green]found[/green]    " if is_found else "[red]not found[/red]"
