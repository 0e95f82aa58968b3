"""A text as an SQL literal, for what belongs to a statement and is not given to it."""

from __future__ import annotations


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
