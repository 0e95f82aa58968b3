"""The texts that a token head learns from and is chosen by: pairs that nobody had to judge.

Something short goes with something long that says the same: a docstring's first line with the rest
of it, a package's summary with its description. Two in five modules or packages are held out, by a
hash of their name.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gte_pg.demo.standard_library import standard_library

__all__ = ["Pair", "described_pairs", "docstring_pairs", "read_rows"]

MOST_PAIRS = 4_000  # of either part of the descriptions
SAME_OPENING = 12  # words: packages of one source share their description's first lines
HELD_OUT = 102  # of 256


@dataclass(frozen=True, slots=True)
class Pair:
    source: str
    query: str
    document: str


def docstring_pairs(*, held_out: bool) -> list[Pair]:
    pairs = []
    for row in standard_library():
        first, _, rest = row.doc.partition("\n")
        if len(first.split()) >= 3 and len(rest.split()) >= 8:
            pairs.append(Pair(row.module, first.strip(), rest.strip()))
    return _part(pairs, held_out)


def described_pairs(path: Path, *, held_out: bool) -> list[Pair]:
    """Read rows with `name`, `summary` and `description` from .jsonl or .jsonl.xz."""
    pairs: list[Pair] = []
    seen: set[str] = set()
    rows = [Pair(row["name"], row["summary"], row["description"]) for row in read_rows(path)]
    for pair in sorted(rows, key=lambda pair: _digest(pair.source)):
        words = pair.document.split()
        marks = {pair.query.lower(), " ".join(words[:SAME_OPENING])}
        if len(words) >= SAME_OPENING and seen.isdisjoint(marks):
            seen |= marks
            pairs.append(pair)
    return _part(pairs, held_out)[:MOST_PAIRS]


def read_rows(path: Path) -> list[dict[str, str]]:
    opened = lzma.open if path.suffix == ".xz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _part(pairs: Iterable[Pair], held_out: bool) -> list[Pair]:
    return [pair for pair in pairs if (_digest(pair.source)[-1] < HELD_OUT) == held_out]


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
