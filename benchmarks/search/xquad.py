"""Write XQuAD in one language as a test collection for `gte-pg eval`.

    .venv/bin/python benchmarks/search/xquad.py xquad.en.json /tmp/xquad-en

The documents are the paragraphs, and to each question the paragraph it was asked about is relevant.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path


def main() -> None:
    file, folder = map(Path, sys.argv[1:])
    documents: list[dict[str, str]] = []
    queries: list[dict[str, str]] = []
    judgements = ["query-id\tcorpus-id\tscore"]
    for article in json.loads(file.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            document = str(len(documents))
            documents.append({"_id": document, "title": "", "text": paragraph["context"]})
            for question in paragraph["qas"]:
                queries.append({"_id": question["id"], "text": question["question"]})
                judgements.append(f"{question['id']}\t{document}\t1")
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    write_lines(folder / "corpus.jsonl", map(json.dumps, documents))
    write_lines(folder / "queries.jsonl", map(json.dumps, queries))
    write_lines(folder / "qrels" / "test.tsv", judgements)


def write_lines(file: Path, lines: Iterable[str]) -> None:
    file.write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
