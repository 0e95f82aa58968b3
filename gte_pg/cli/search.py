from __future__ import annotations

import dataclasses
import json

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.database import connect, load, printable
from gte_pg.declaration import declared_encoder
from gte_pg.search import Weights, encode_query, gte_search_call
from gte_pg.search import search as run_search


@click.command()
@click.argument("table")
@click.argument("text")
@click.option("--limit", default=10, show_default=True, help="How many rows.")
@click.option("--dense-weight", default=1.0, show_default=True)
@click.option("--sparse-weight", default=0.1, show_default=True)
@click.option("--exact", is_flag=True, help="Score every row instead of the indexes' candidates.")
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a row, best first.")
@click.option(
    "--print-sql", is_flag=True, help="Print the statement any SQL client can run instead."
)
@dsn_option
def search(
    table: str,
    text: str,
    limit: int,
    dense_weight: float,
    sparse_weight: float,
    exact: bool,
    name: str | None,
    as_json: bool,
    print_sql: bool,
    dsn: str,
) -> None:
    """Find the rows of TABLE that come nearest to TEXT in meaning and words."""
    weights = Weights(dense_weight, sparse_weight)
    with connect(dsn) as connection:
        registered = load(connection, table, name)
        declaration = registered.declaration
        query = encode_query(declared_encoder(declaration), declaration, text)
        if print_sql:
            click.echo(gte_search_call(declaration, query, limit, weights, exact=exact))
            return
        hits = run_search(connection, registered, query, limit=limit, weights=weights, exact=exact)
    if as_json:
        for hit in hits:
            click.echo(json.dumps(dataclasses.asdict(hit), ensure_ascii=False))
        return
    names = [column.name for column in declaration.key]
    grid = Table(*names, "score", "dense", "sparse", box=SIMPLE_HEAD)
    for hit in hits:
        numbers = (hit.score, hit.dense, hit.sparse)
        grid.add_row(
            *(printable(str(value)) for value in hit.key.values()),
            *(f"{number:.4f}" for number in numbers),
        )
    Console(markup=False).print(grid)
