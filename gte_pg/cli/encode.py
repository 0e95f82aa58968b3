"""`gte-pg encode`: texts on stdin, vectors on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click
import numpy as np
from numpy.typing import NDArray

from gte_pg.cli.json_lines import answer_lines, field
from gte_pg.cli.precision import precision_option
from gte_pg.encoder import Encoded, Encoder, load_encoder
from gte_pg.encoder.encoder import Kind
from gte_pg.models.catalogue import Precision
from gte_pg.search import as_pgvector

__all__ = ["encode"]

SHOWN_TOKENS = 5
EXAMPLE = '"hello world", with its double quotes, or {"text": "hello world"}'


@click.command()
@click.option("--model", required=True, help="A known model's name, or a directory with a model.")
@click.option("--dimensions", type=click.IntRange(min=1), help="Cut the dense vectors to N values.")
@click.option("--max-length", type=click.IntRange(min=1), help="Tokens a text, special ones too.")
@click.option("--kind", type=click.Choice(["document", "query"]), default="document")
@precision_option
@click.option("--json", "form", flag_value="json", help="Write whole vectors, as JSON Lines.")
@click.option(
    "--pgvector", "form", flag_value="pgvector", help="Write them as pgvector reads them."
)
def encode(
    model: str,
    *,
    dimensions: int | None,
    max_length: int | None,
    kind: Kind,
    precision: Precision,
    form: str | None,
) -> None:
    """Encode texts: each line of stdin is a JSON string, or an object with "text".

    With --json each line of stdout is {"dense": [...], "token_weights": {"token": weight, ...}}; with
    --pgvector it is {"dense": "[...]", "sparse": "{...}/N"}, the arguments of gte.search.
    """
    encoder = load_encoder(model, precision=precision)
    show = {"json": _json_line, "pgvector": _pgvector_line}.get(form or "", _readable_line)

    def answer(texts: Sequence[str]) -> list[str]:
        encoded = encoder.encode(texts, kind=kind, dimensions=dimensions, max_length=max_length)
        return [show(encoder, encoded, index) for index in range(len(texts))]

    for line in answer_lines(sys.stdin.buffer, _text, answer, example=EXAMPLE):
        click.echo(line)


def _text(value: object) -> str:
    return value if isinstance(value, str) else field(value, "text")


def _json_line(encoder: Encoder, encoded: Encoded, index: int) -> str:
    weights = _token_weights(encoder, encoded, index)
    line = {
        "dense": _shortest(encoded.dense[index]),
        "token_weights": dict(zip(weights, _shortest(list(weights.values())), strict=True)),
    }
    return json.dumps(line, ensure_ascii=False)


def _pgvector_line(_encoder: Encoder, encoded: Encoded, index: int) -> str:
    vectors = as_pgvector(encoded, index)
    return json.dumps({"dense": vectors.dense, "sparse": vectors.sparse or None})


def _readable_line(encoder: Encoder, encoded: Encoded, index: int) -> str:
    dense = encoded.dense[index]
    start = ", ".join(f"{value:.4f}" for value in dense[:3])
    parts = [f"{encoded.token_counts[index]} tokens", f"dense[{len(dense)}] {start}, ..."]
    weights = _token_weights(encoder, encoded, index)
    if weights:
        strongest = sorted(weights, key=lambda token: -weights[token])[:SHOWN_TOKENS]
        parts.append(" ".join(f"{token!r}:{weights[token]:.2f}" for token in strongest))
    return "  ".join(parts)


def _token_weights(encoder: Encoder, encoded: Encoded, index: int) -> dict[str, float]:
    return {} if encoded.sparse is None else encoder.token_weights(*encoded.sparse[index])


def _shortest(values: NDArray[np.float32] | list[float]) -> list[float]:
    """Return numbers whose decimals are as few as name the float32: 0.1, not 0.10000000149."""
    return [float(str(value)) for value in np.asarray(values, np.float32)]
