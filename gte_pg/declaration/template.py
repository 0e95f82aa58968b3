"""Columns in braces: the placeholders of a text template, and of a SQL expression.

A template is the text of a row, line by line: `{title} by {author}`. A line whose columns are all empty
is left out. `{{` and `}}` stand for braces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gte_pg.errors import DeclarationError

_TOKENS = re.compile(r"(?P<brace>\{\{|\}\})|\{(?P<column>[^{}]+)\}|(?P<stray>[{}])")


@dataclass(frozen=True, slots=True)
class Column:
    name: str


Part = str | Column


def parse(written: str) -> list[Part]:
    """Return literal texts and columns in their order; raises DeclarationError for a stray brace."""
    parts: list[Part] = []
    end = 0
    for token in _TOKENS.finditer(written):
        if token["stray"]:
            raise DeclarationError(
                f"{written!r} has a brace at character {token.start() + 1} that encloses no column: "
                "write {column}, or the brace itself doubled"
            )
        parts += filter(None, [written[end : token.start()], (token["brace"] or "")[:1]])
        if token["column"]:
            parts.append(Column(token["column"]))
        end = token.end()
    return [*parts, *filter(None, [written[end:]])]


def placeholders(written: str) -> tuple[str, ...]:
    """Return the names of the columns, each once; raises DeclarationError where there are none."""
    names = tuple(dict.fromkeys(part.name for part in parse(written) if isinstance(part, Column)))
    if not names:
        raise DeclarationError(
            f"{written!r} names no column: write the columns in braces, as in '{{title}}'"
        )
    return names


def renamed(written: str, rename: Callable[[str], str]) -> str:
    """Return the same with other column names."""

    def part(token: re.Match[str]) -> str:
        return token[0] if token["column"] is None else f"{{{rename(token['column'])}}}"

    return _TOKENS.sub(part, written)


def lines(template: str) -> list[list[Part]]:
    """Return the parts of each line of a template."""
    return [parse(line) for line in template.split("\n")]


def fill(template: str, values: Mapping[str, str | None]) -> str | None:
    """Return the text of a row with these values in its columns; None where all of them are empty."""
    written = []
    for line in lines(template):
        present = [values[part.name] or "" for part in line if isinstance(part, Column)]
        if any(present) or not present:
            written.append(
                "".join(part if isinstance(part, str) else values[part.name] or "" for part in line)
            )
    return "\n".join(written) if any(values[name] for name in placeholders(template)) else None
