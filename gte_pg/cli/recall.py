from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import declared_encoder
from gte_pg.errors import QueryError
from gte_pg.search import Weights, encode_query
from gte_pg.search.legs import FEWEST_CANDIDATES
from gte_pg.search.recall import (
    DefaultPath,
    Question,
    Recall,
    dense_recalls,
    measure,
    sample_questions,
)

# Candidates of the dense leg that are tried, one after the other, until the target is reached.
_CANDIDATES = (FEWEST_CANDIDATES, 600, 1_000)


@click.command()
@click.argument("table")
@click.option("--limit", "k", default=10, show_default=True, help="The k of recall@k.")
@click.option(
    "--sample", default=100, show_default=True, help="How many rows' own vectors are the queries."
)
@click.option(
    "--queries",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Ask the lines of this file instead.",
)
@click.option("--dense-weight", default=1.0, show_default=True)
@click.option("--sparse-weight", default=0.1, show_default=True)
@click.option(
    "--target", default=0.99, show_default=True, help="The recall to make suggestions for."
)
@click.option("--name", help="Which embedding, where the table has several.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@dsn_option
def recall(
    table: str,
    k: int,
    sample: int,
    file: Path | None,
    dense_weight: float,
    sparse_weight: float,
    target: float,
    name: str | None,
    as_json: bool,
    dsn: str,
) -> None:
    """Measure what share of the exact best rows a search of TABLE finds, and how long it takes.

    Every query is also answered by a scan: on large tables this takes a while.
    """
    if k < 1 or sample < 1:
        raise QueryError(f"--limit is {k} and --sample is {sample}: both take at least 1")
    if not 0 < target <= 1:
        raise QueryError(f"--target is {target:g}: a recall is more than 0 and at most 1, as 0.99")
    weights = Weights(dense_weight, sparse_weight)
    with connect(dsn) as connection:
        registered = load(connection, table, name)
        questions = _questions(connection, registered, file, sample)
        paths: dict[int, DefaultPath] = {}
        for candidates in track(
            _CANDIDATES, "measuring", console=Console(stderr=True), transient=True
        ):
            paths[candidates] = measure(
                connection, registered, questions, k=k, weights=weights, candidates=candidates
            )
            if paths[candidates].found.recall >= target:
                break
        dense = dense_recalls(connection, registered.declaration, questions, k=k)
    if as_json:
        found = {
            "search": {str(key): dataclasses.asdict(path) for key, path in paths.items()},
            "dense_index": {str(key): dataclasses.asdict(value) for key, value in dense.items()},
            "suggested_candidates": _sufficient(paths, target),
            "suggested_ef_search": next((n for n in dense if dense[n].recall >= target), None),
        }
        click.echo(json.dumps(found))
        return
    _print(paths, dense, target, k)


def _questions(
    connection: Connection, registered: Registered, file: Path | None, sample: int
) -> list[Question]:
    if file is None:
        return sample_questions(connection, registered.declaration, sample)
    texts = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not texts:
        raise QueryError(f"{file} has no line to ask: write one query a line")
    encoder = declared_encoder(registered.declaration)
    return [Question(encode_query(encoder, registered.declaration, text)) for text in texts]


def _sufficient(paths: dict[int, DefaultPath], target: float) -> int | None:
    return next((n for n, path in paths.items() if path.found.recall >= target), None)


def _print(paths: dict[int, DefaultPath], dense: dict[int, Recall], target: float, k: int) -> None:
    console = Console(highlight=False)
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("")
    for heading in (f"recall@{k}", "p50 ms", "p95 ms", "complete"):
        grid.add_column(heading, justify="right")
    for candidates, path in paths.items():
        label = "default search" if candidates == FEWEST_CANDIDATES else f"candidates {candidates}"
        grid.add_row(label, *_numbers(path.found), f"{path.complete:.0%}")
    exact = next(iter(paths.values())).exact
    grid.add_row("exact search", *_numbers(exact), "100%", end_section=True)
    for width, found in dense.items():
        grid.add_row(f"dense index alone, ef_search {width}", *_numbers(found), "")
    console.print(f"{exact.queries} queries", grid)
    enough = _sufficient(paths, target)
    if enough is None:
        console.print(
            f"A recall of {target:g} was not reached: build the dense index with a larger "
            "ef_construction, or search with --exact."
        )
    elif enough == FEWEST_CANDIDATES:
        console.print(f"The default search has a recall of {target:g} and more.")
    else:
        console.print(
            f"For a recall of {target:g}:  ALTER DATABASE … SET gte.candidates = {enough};"
        )


def _numbers(found: Recall) -> list[str]:
    return [f"{found.recall:.4f}", f"{found.p50:.1f}", f"{found.p95:.1f}"]
