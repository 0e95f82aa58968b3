"""Measures hybrid search with the offline model: nDCG@10 of BM25, dense, sparse and both together.

    python -m scripts.evaluate_token_head --beir FOLDER --squad FILE --descriptions packages.jsonl.xz

`--beir` takes a folder with corpus.jsonl, queries.jsonl and qrels.tsv; `--squad` a file in SQuAD's
format, whose questions look for their paragraph. The held-out docstrings, and with `--descriptions`
the held-out package descriptions, are always measured too. Ties are broken by document order.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder import Encoder
from scripts.token_head_texts import Pair, described_pairs, docstring_pairs, read_rows

MODEL = "all-MiniLM-L6-v2"
SPARSE_WEIGHTS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
DEFAULT_SPARSE_WEIGHT = 0.1
MOST_QUERIES = 1_500  # of the held-out pairs
DEPTH = 10

K1, B = 1.2, 0.75
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "whom",
        "why",
        "will",
        "with",
    ]
)
SUFFIXES = {"sses": "ss", "ies": "y", "ss": "ss", "ing": "", "ed": "", "s": ""}

Scores = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Collection:
    """`relevant[i]` holds the places of the documents that answer query i; all count the same."""

    name: str
    documents: list[str]
    queries: list[str]
    relevant: list[set[int]]


def beir(folder: Path) -> Collection:
    documents = read_rows(folder / "corpus.jsonl")
    place = {row["_id"]: index for index, row in enumerate(documents)}
    relevant: dict[str, set[int]] = {}
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, set()).add(place[document])
    queries = [row for row in read_rows(folder / "queries.jsonl") if row["_id"] in relevant]
    return Collection(
        folder.name,
        [f"{row.get('title', '')}\n{row['text']}".strip() for row in documents],
        [row["text"] for row in queries],
        [relevant[row["_id"]] for row in queries],
    )


def squad(file: Path) -> Collection:
    found = Collection(file.stem, [], [], [])
    for article in json.loads(file.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                found.queries.append(question["question"])
                found.relevant.append({len(found.documents)})
            found.documents.append(paragraph["context"])
    return found


def held_out(name: str, pairs: Sequence[Pair]) -> Collection:
    queries = [pair.query for pair in pairs[:MOST_QUERIES]]
    relevant = [{place} for place in range(len(queries))]
    return Collection(name, [pair.document for pair in pairs], queries, relevant)


def ndcg(scores: Scores, relevant: Sequence[set[int]]) -> float:
    gains = 1 / np.log2(np.arange(2, DEPTH + 2))
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    values = [
        sum(gain for gain, document in zip(gains, row, strict=False) if int(document) in answers)
        / gains[: len(answers)].sum()
        for row, answers in zip(ranked, relevant, strict=True)
    ]
    return float(np.mean(values))


def words(text: str) -> Iterator[str]:
    for word in re.findall(r"\w+", text.lower()):
        if word not in STOP_WORDS:
            ending = next((end for end in SUFFIXES if word.endswith(end)), "")
            stem = word[: len(word) - len(ending)]
            yield stem + SUFFIXES[ending] if ending and len(stem) >= 3 else word


def bm25(collection: Collection) -> Scores:
    counts = [Counter(words(text)) for text in collection.documents]
    lengths = np.array([count.total() for count in counts], np.float32)
    rest = K1 * (1 - B + B * lengths / lengths.mean())
    postings: dict[str, list[int]] = {}
    for place, count in enumerate(counts):
        for word in count:
            postings.setdefault(word, []).append(place)
    scores = np.zeros((len(collection.queries), len(counts)), np.float32)
    for row, query in zip(scores, collection.queries, strict=True):
        for word, repeats in Counter(words(query)).items():
            if places := postings.get(word):
                found = np.array([counts[place][word] for place in places], np.float32)
                rarity = np.log1p((len(counts) - len(places) + 0.5) / (len(places) + 0.5))
                row[places] += repeats * rarity * found * (K1 + 1) / (found + rest[places])
    return scores


def dense_and_sparse(encoder: Encoder, collection: Collection) -> tuple[Scores, Scores, float]:
    """Return both score matrices, and how many tokens a document has a weight for, on average."""
    queries = encoder.encode(collection.queries, kind="query")
    documents = encoder.encode(collection.documents)
    assert queries.sparse is not None
    assert documents.sparse is not None
    tokens = np.unique(queries.sparse.indices)  # no other token can score
    matrices = []
    for rows in (queries.sparse, documents.sparse):
        text = np.repeat(np.arange(len(rows)), np.diff(rows.indptr))
        kept = np.isin(rows.indices, tokens)
        matrix = np.zeros((len(rows), len(tokens)), np.float32)
        matrix[text[kept], np.searchsorted(tokens, rows.indices[kept])] = rows.values[kept]
        matrices.append(matrix)
    count = len(documents.sparse.indices) / len(documents.sparse)
    return queries.dense @ documents.dense.T, matrices[0] @ matrices[1].T, count


def measure(encoder: Encoder, collections: Iterable[Collection]) -> None:
    weights = " | ".join(f"{weight:g}" for weight in SPARSE_WEIGHTS)
    print(
        f"| collection | queries → documents | tokens | BM25 | dense | sparse | hybrid | {weights} |"
    )
    print("|---" * (7 + len(SPARSE_WEIGHTS)) + "|")
    for collection in collections:
        dense, sparse, count = dense_and_sparse(encoder, collection)
        sweep = {
            weight: ndcg(dense + np.float32(weight) * sparse, collection.relevant)
            for weight in SPARSE_WEIGHTS
        }
        lexical, tokens = (
            ndcg(scores, collection.relevant) for scores in (bm25(collection), sparse)
        )
        parts = (lexical, sweep[0.0], tokens, sweep[DEFAULT_SPARSE_WEIGHT])
        numbers = " | ".join(f"{number:.3f}" for number in (*parts, *sweep.values()))
        size = f"{len(collection.queries):,} → {len(collection.documents):,}"
        print(f"| {collection.name} | {size} | {count:.0f} | {numbers} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--beir", type=Path, action="append", default=[])
    parser.add_argument("--squad", type=Path, action="append", default=[])
    parser.add_argument("--descriptions", type=Path)
    parser.add_argument("--model", default=MODEL, help="a name, or a directory with its own head")
    arguments = parser.parse_args()
    collections = [held_out("docstrings", docstring_pairs(held_out=True))]
    if arguments.descriptions:
        pairs = described_pairs(arguments.descriptions, held_out=True)
        collections.append(held_out("descriptions", pairs))
    collections += [*map(beir, arguments.beir), *map(squad, arguments.squad)]
    measure(Encoder.load(arguments.model), collections)


if __name__ == "__main__":
    main()
