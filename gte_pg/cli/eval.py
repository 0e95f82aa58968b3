from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from gte_pg.cli.database import dsn_option
from gte_pg.cli.precision import precision_option
from gte_pg.cli.progress import show_bar
from gte_pg.database import connect
from gte_pg.declaration import declared_encoder
from gte_pg.evaluation import Collection, Quality, corpus_table, quality, read_collection, ways
from gte_pg.models import Precision, identify
from gte_pg.search import Weights
from gte_pg.sync import Team, sync_once


@click.command("eval")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--model", default="all-MiniLM-L6-v2", show_default=True, help="A model's name or directory."
)
@precision_option
@click.option(
    "--split", default="test", show_default=True, help="Which judgements: qrels/SPLIT.tsv."
)
@click.option("--dense-weight", default=1.0, show_default=True)
@click.option("--sparse-weight", default=0.1, show_default=True)
@click.option(
    "--text-config", default="english", show_default=True, help="Language of the full-text search."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@dsn_option
def evaluate(
    folder: Path,
    model: str,
    precision: Precision,
    split: str,
    dense_weight: float,
    sparse_weight: float,
    text_config: str,
    as_json: bool,
    dsn: str,
) -> None:
    """Measure how well a model's searches rank the test collection in FOLDER, in BEIR's layout.

    Encodes its documents into a schema that is dropped in the end, asks its queries and compares the
    answers with its judgements, for hybrid search, its parts alone, and Postgres' full-text search.
    """
    weights = Weights(dense_weight, sparse_weight)
    identity = identify(model, precision=precision)
    collection = read_collection(folder, split)
    with (
        connect(dsn) as connection,
        corpus_table(dsn, connection, collection, identity) as registered,
    ):
        show_bar(folder.name, sync_once(connection, registered, Team(dsn, threading.Event())))
        encoder = declared_encoder(registered.declaration)
        found = {
            name: quality(
                {
                    query: rank(text)
                    for query, text in track(
                        collection.queries.items(), name, console=Console(stderr=True)
                    )
                },
                collection.judged,
            )
            for name, rank in ways(connection, registered, encoder, weights, text_config).items()
        }
        generation = registered.declaration.generation
    if as_json:
        told = {
            "collection": folder.name,
            "generation": generation,
            "documents": len(collection.documents),
            "queries": len(collection.queries),
            "weights": dataclasses.asdict(weights),
            "ways": {name: dataclasses.asdict(one) for name, one in found.items()},
        }
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        _print(folder.name, generation, collection, found)


def _print(title: str, generation: str, collection: Collection, found: dict[str, Quality]) -> None:
    console = Console(highlight=False)
    console.print(
        f"{title}: {len(collection.documents):,} documents, {len(collection.queries):,} queries, "
        f"{generation}",
        soft_wrap=True,
    )
    grid = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("")
    for heading in ("nDCG@10", "recall@10", "recall@100", "MRR@10"):
        grid.add_column(heading, justify="right")
    for name, one in found.items():
        numbers = (one.ndcg_at_10, one.recall_at_10, one.recall_at_100, one.mrr_at_10)
        grid.add_row(name, *(f"{number:.4f}" for number in numbers))
    console.print(grid)
