"""Figures as a table in Markdown: the first column are words, the others numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print the head, then each row as soon as it comes."""
    ruler = ("--", *["--:"] * (len(head) - 1))
    for cells in (head, ruler):
        print(f"| {' | '.join(cells)} |")
    for cells in rows:
        print(f"| {' | '.join(cells)} |", flush=True)
    print(flush=True)
