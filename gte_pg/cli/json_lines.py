"""JSON Lines in: one value a line, read and answered a few lines at a time, in order.

An error names its line, and whatever stands before it is still answered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import click

from gte_pg.errors import EncodingError

__all__ = ["answer_lines", "field"]

Value = TypeVar("Value")
Answer = TypeVar("Answer")
LINES_AT_ONCE = 64
BYTES_AT_ONCE = 1_000_000


def answer_lines(
    stream: BinaryIO,
    parse: Callable[[object], Value],
    answer: Callable[[Sequence[Value]], Sequence[Answer]],
    *,
    example: str,
) -> Iterator[Answer]:
    """Yield the answer to each line. `parse` raises ValueError for a value that will not do; `example` is
    a line that does.

    `answer` gets up to 64 values at once; the index of an EncodingError becomes a line's number.
    Raises ClickException.
    """
    first, size, values = 1, 0, []
    problem: Exception | None = None
    for number, line in enumerate(stream, start=1):
        try:
            values.append(parse(_json(line)))
        except (ValueError, RecursionError) as error:
            problem = error
            break
        size += len(line)
        if len(values) == LINES_AT_ONCE or size > BYTES_AT_ONCE:
            yield from _answers(first, values, answer)
            first, size, values = number + 1, 0, []
    yield from _answers(first, values, answer)
    if problem is not None:
        where = f"line {first + len(values)}"
        raise click.ClickException(f"{where}: {problem}; write {example}") from problem


def field(value: object, name: str) -> str:
    """Return a string field of a JSON object. Raises ValueError."""
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"expected an object with the string {name!r}, got {_short(value)}")
    return text


def _answers(
    first: int, values: Sequence[Value], answer: Callable[[Sequence[Value]], Sequence[Answer]]
) -> Iterator[Answer]:
    if not values:
        return
    try:
        yield from answer(values)
    except EncodingError as error:
        if error.index is None:
            raise
        yield from _answers(first, values[: error.index], answer)
        raise click.ClickException(f"line {first + error.index}: {error}") from error


def _json(line: bytes) -> object:
    if not line.strip():
        raise ValueError("it is blank; every line must hold one JSON value")
    text = line.decode()
    try:
        value: object = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at character {error.pos + 1}"
        raise ValueError(f"it is not JSON ({where})") from error
    return value


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
