"""`gte-pg score`: pairs of a query and a document on stdin, the reference scores on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from gte_pg.cli.json_lines import answer_lines, field
from gte_pg.cli.precision import precision_option
from gte_pg.encoder import Score, load_encoder, score_pairs
from gte_pg.models.catalogue import Precision

__all__ = ["score"]

EXAMPLE = '{"query": "capital of China", "document": "Beijing"}'


@click.command()
@click.option("--model", required=True, help="A known model's name, or a directory with a model.")
@click.option("--dense-weight", type=float, default=1.0, show_default=True)
@click.option("--sparse-weight", type=float, default=0.1, show_default=True)
@click.option("--dimensions", type=click.IntRange(min=1), help="Cut the dense vectors to N values.")
@click.option("--max-length", type=click.IntRange(min=1), default=1024, show_default=True)
@precision_option
@click.option("--json", "as_json", is_flag=True, help="Write JSON Lines.")
def score(
    model: str,
    *,
    dense_weight: float,
    sparse_weight: float,
    dimensions: int | None,
    max_length: int,
    precision: Precision,
    as_json: bool,
) -> None:
    """Score pairs: each line of stdin is an object with "query" and "document".

    With --json each line of stdout is {"score": ..., "dense": ..., "sparse": ...}; the last two
    are not weighted.
    """
    encoder = load_encoder(model, precision=precision)

    def answer(pairs: Sequence[tuple[str, str]]) -> list[Score]:
        return score_pairs(
            encoder,
            pairs,
            dense_weight=dense_weight,
            sparse_weight=sparse_weight,
            dimensions=dimensions,
            max_length=max_length,
        )

    for found in answer_lines(sys.stdin.buffer, _pair, answer, example=EXAMPLE):
        click.echo(json.dumps(asdict(found)) if as_json else _readable(found))


def _pair(value: object) -> tuple[str, str]:
    return field(value, "query"), field(value, "document")


def _readable(found: Score) -> str:
    return f"score {found.score:.4f}  dense {found.dense:.4f}  sparse {found.sparse:.4f}"
