"""`gte-pg models`: what is known, what is here, whether it is right, and taking it elsewhere."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TypedDict

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gte_pg.cli.precision import precision_option
from gte_pg.encoder import load_encoder
from gte_pg.encoder.published import compare_with_published
from gte_pg.graph.export import export as export_graph
from gte_pg.models import locate
from gte_pg.models.catalogue import CATALOGUE, KnownModel, Precision, find, unknown
from gte_pg.models.checked_files import checked_files
from gte_pg.models.directory import read_directory
from gte_pg.models.offline import OFFLINE_MODEL
from gte_pg.models.stored import remove as remove_stored
from gte_pg.models.stored import stored_directory

__all__ = ["models"]

MEGABYTE = 1_000_000
TABLE_WIDTH = 80
json_option = click.option("--json", "as_json", is_flag=True, help="Write JSON Lines.")


@click.group()
def models() -> None:
    """List, fetch, check, export and remove models."""


@models.command(name="list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models that are known by name; any other is given as a directory."""
    rows = [_row(known) for known in CATALOGUE]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    grid = Table(box=SIMPLE_HEAD)
    for heading in ("name", "dimensions", "max tokens", "sparse", "licence", "here"):
        number = heading in ("dimensions", "max tokens")
        grid.add_column(heading, no_wrap=True, justify="right" if number else "left")
    for row in rows:
        low = f"{row['elastic'][0]}-" if row["elastic"] else ""
        grid.add_row(
            row["name"],
            f"{low}{row['dimensions']}",
            f"{row['max_tokens']:,}",
            "yes" if row["sparse"] else "",
            row["licence"],
            "yes" if row["here"] else "",
        )
    # Whole cells, even where the terminal has to wrap them.
    Console(width=max(Console().width, TABLE_WIDTH)).print(grid)
    click.echo("  here: on this machine; --json has hub ids, revisions, pooling, instructions")


@models.command()
@click.argument("name")
@precision_option
def pull(name: str, precision: Precision) -> None:
    """Fetch the model NAME and build its graph, so that the first use need not wait."""
    started = time.monotonic()
    click.echo(f"fetching {name}", err=True)
    directory = locate(name)
    click.echo(f"building its {precision} graph", err=True)
    load_encoder(name, precision=precision)
    click.echo(f"{directory}  ready in {time.monotonic() - started:.1f} s")


@models.command()
@click.argument("name_or_directory")
@json_option
def verify(name_or_directory: str, as_json: bool) -> None:
    """Check a model's files by their hashes, and its vectors by those that others published.

    Exits with 1 where something differs. The vectors are those of float32.
    """
    directory = locate(name_or_directory)
    known = find(name_or_directory) or find(directory.name)
    offline = (
        find(name_or_directory) is not None and known is not None and known.name == OFFLINE_MODEL
    )
    rows: list[dict[str, object]] = [
        {"checked": file.name, "bytes": file.size, "result": file.state}
        for file in checked_files(directory, offline=offline)
    ]
    encoder = load_encoder(name_or_directory)
    encoder.encode(["a text"])
    for found in compare_with_published(encoder, known.name) if known else []:
        result = "matches" if found.holds else "differs"
        rows.append(
            {
                "checked": found.kind,
                "difference": found.difference,
                "tolerance": found.tolerance,
                "source": found.source,
                "result": result,
            }
        )
    for row in rows:
        click.echo(json.dumps(row) if as_json else _sentence(row))
    if known is None and not as_json:
        click.echo("nothing is published for this model under a name that gte-pg knows")
    wrong = [str(row["checked"]) for row in rows if row["result"] == "differs"]
    if wrong:
        raise click.ClickException(f"{name_or_directory} differs in {', '.join(wrong)}")


@models.command()
@click.argument("name_or_directory")
@click.argument("destination", type=click.Path(path_type=Path))
@precision_option
def export(name_or_directory: str, destination: Path, precision: Precision) -> None:
    """Write the model as an ONNX graph with its tokenizer to the directory DESTINATION."""
    directory = read_directory(locate(name_or_directory), find(name_or_directory))
    export_graph(directory, destination, precision, Path(name_or_directory).name)
    click.echo(f"{destination}  how to run it stands in README.md there")


@models.command()
@click.argument("name")
def remove(name: str) -> None:
    """Delete the files of the model NAME and what was built from them from this machine's caches."""
    known = find(name)
    if known is None:
        raise unknown(name)
    click.echo(f"{known.name}: {remove_stored(known) / MEGABYTE:,.0f} MB are free")


class Row(TypedDict):
    """One model of the list, as --json writes it."""

    name: str
    dimensions: int
    elastic: tuple[int, int] | None
    max_tokens: int
    pooling: str
    query_instruction: str
    sparse: bool
    licence: str
    source: str
    here: bool


def _row(known: KnownModel) -> Row:
    return {
        "name": known.name,
        "dimensions": known.dimensions,
        "elastic": known.elastic,
        "max_tokens": known.max_length,
        "pooling": known.pooling,
        "query_instruction": known.query_instruction,
        "sparse": known.sparse_dimensions is not None,
        "licence": known.licence,
        "source": f"{known.hub_id}@{known.revision}",
        "here": stored_directory(known) is not None,
    }


def _sentence(row: dict[str, object]) -> str:
    if "bytes" in row:
        return f"{row['result']:10} {row['checked']}  {row['bytes']:,} bytes"
    return (
        f"{row['result']:10} {row['checked']}  off by {row['difference']:.1e} of "
        f"{row['tolerance']:.0e}  {row['source']}"
    )
