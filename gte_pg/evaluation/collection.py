"""A test collection in BEIR's layout.

corpus.jsonl       {"_id": "1", "title": "…", "text": "…"}, the title may be missing
queries.jsonl      {"_id": "q1", "text": "…"}
qrels/test.tsv     query-id, corpus-id, score: a heading, then a judgement a line; also qrels.tsv
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gte_pg.errors import QueryError


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents; queries, text by id; `judged`: for each query its relevant documents, and how relevant.

    Only queries that have a relevant document are there.
    """

    documents: list[Document]
    queries: dict[str, str]
    judged: dict[str, dict[str, int]]


def read_collection(folder: Path, split: str = "test") -> Collection:
    """Read a collection. Raises QueryError for a file that is missing or is not of that form."""
    documents = [
        Document(_text(line, "_id", at), str(line.get("title") or ""), _text(line, "text", at))
        for at, line in _lines(folder / "corpus.jsonl")
    ]
    texts = {
        _text(line, "_id", at): _text(line, "text", at)
        for at, line in _lines(folder / "queries.jsonl")
    }
    known = {document.id for document in documents}
    if len(known) < len(documents):
        raise QueryError(f"{folder / 'corpus.jsonl'} has two documents with the same _id")
    judged: dict[str, dict[str, int]] = {}
    file = _judgements(folder, split)
    for at, query, document, gain in _read_judgements(file):
        if query not in texts or document not in known:
            raise QueryError(
                f"{at} judges the document {document!r} for the query {query!r}: the collection does not "
                "have both"
            )
        if gain > 0:
            judged.setdefault(query, {})[document] = gain
    if not judged:
        raise QueryError(f"{file} has no query with a relevant document")
    return Collection(documents, {query: texts[query] for query in judged}, judged)


def _judgements(folder: Path, split: str) -> Path:
    places = (folder / "qrels" / f"{split}.tsv", folder / "qrels.tsv")
    for place in places:
        if place.exists():
            return place
    raise QueryError(
        f"there is neither {places[0]} nor {places[1]}: --split names one of "
        f"{', '.join(sorted(file.stem for file in folder.glob('qrels/*.tsv'))) or 'none'}"
    )


def _read_judgements(file: Path) -> Iterator[tuple[str, str, str, int]]:
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t"), start=1):
            if not row or (number == 1 and not row[-1].lstrip("-").isdigit()):
                continue
            at = f"line {number} of {file}"
            try:
                query, document, gain = row
                yield at, query, document, int(gain)
            except ValueError as error:
                raise QueryError(
                    f"{at} is {row!r}: a query's id, a document's id and a whole number are expected"
                ) from error


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file of JSON Lines, each with its place."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                at = f"line {number} of {file}"
                try:
                    found = json.loads(line)
                except ValueError as error:
                    raise QueryError(f"{at} is not JSON: {error}") from error
                if not isinstance(found, dict):
                    raise QueryError(f"{at} is not a JSON object")
                yield at, found
    except OSError as error:
        raise QueryError(
            f"{file} cannot be read ({error.strerror}): a folder with corpus.jsonl, queries.jsonl and "
            "qrels/ is expected"
        ) from error


def _text(line: dict[str, Any], name: str, at: str) -> str:
    value = line.get(name)
    if not isinstance(value, str):
        raise QueryError(f"{at} has no text called {name!r}")
    return value
