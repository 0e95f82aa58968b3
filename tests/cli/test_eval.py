from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gte_pg.cli import main
from gte_pg.database import Connection
from gte_pg.errors import QueryError
from gte_pg.evaluation import quality, read_collection

_DOCUMENTS = [
    ("1", "A cat", "a cat sat on the mat"),
    ("2", "", "rows and columns of a database"),
    ("3", "Order", "the order of the columns"),
    ("4", "", "un chat et un chien"),
    ("5", "", ""),
    ("6", "кот", "кот на ковре"),
]

_SCHEMAS = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'gte_pg_eval%'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A collection: six documents, one of them empty, two queries with judgements and one without."""
    lines = [json.dumps({"_id": key, "title": title, "text": t}) for key, title, t in _DOCUMENTS]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    queries = {"a": "a cat on the mat", "1": "columns of a database", "c": "not judged"}
    lines = [json.dumps({"_id": key, "text": text}) for key, text in queries.items()]
    (tmp_path / "queries.jsonl").write_text("\n".join(lines))
    (tmp_path / "qrels").mkdir()
    judged = "query-id\tcorpus-id\tscore\na\t1\t2\na\t6\t1\n1\t2\t1\n1\t4\t0\n"
    (tmp_path / "qrels" / "test.tsv").write_text(judged)
    return tmp_path


def run(folder: Path, dsn: str, *options: str) -> Result:
    return CliRunner(env={"COLUMNS": "80"}).invoke(
        main, ["eval", str(folder), "--dsn", dsn, *options]
    )


def test_measures_are_what_is_computed_by_hand() -> None:
    judged = {"a": {"x": 2, "y": 1}, "b": {"z": 1}}
    found = quality({"a": ["n", "y", "x"]}, judged)
    ideal = 2 + 1 / math.log2(3)
    assert found.ndcg_at_10 == pytest.approx((1 / math.log2(3) + 2 / 2) / ideal / 2)
    assert (found.recall_at_10, found.recall_at_100) == (0.5, 0.5)
    assert found.mrr_at_10 == 0.25
    late = quality({"b": [*map(str, range(10)), "z"]}, {"b": {"z": 1}})
    assert (late.ndcg_at_10, late.recall_at_10, late.mrr_at_10) == (0, 0, 0)
    assert late.recall_at_100 == 1


def test_every_way_is_measured_and_nothing_is_left(
    empty_dsn: str, model: str, folder: Path
) -> None:
    answer = run(folder, empty_dsn, "--model", model, "--json")
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    assert (told["documents"], told["queries"]) == (6, 2)
    assert list(told["ways"]) == ["hybrid", "dense", "token weights", "full text"]
    # The words decide: both first documents have nearly all of them.
    for way in ("token weights", "full text"):
        assert told["ways"][way]["mrr_at_10"] == 1
    # Five documents have a vector, so that all are found.
    assert told["ways"]["hybrid"]["recall_at_10"] == 1
    # The full-text search cannot know that the Russian cat is one.
    assert told["ways"]["full text"]["recall_at_10"] == 0.75
    with Connection.connect(empty_dsn) as connection:
        assert connection.execute(_SCHEMAS).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM gte.embedding").fetchone() == (0,)


def test_the_table_and_a_model_without_token_weights(
    dsn: str, plain_model: str, folder: Path
) -> None:
    answer = run(folder, dsn, "--model", plain_model)
    assert answer.exit_code == 0, answer.output
    assert "6 documents, 2 queries" in answer.stdout
    rows = [line.split() for line in answer.stdout.splitlines()]
    assert ["nDCG@10", "recall@10", "recall@100", "MRR@10"] in rows
    assert {row[0] for row in rows[2:] if len(row) > 4} == {"dense", "full"}
    assert all(len(line) <= 80 for line in answer.stdout.splitlines()[1:])


def test_weights_decide_the_hybrid(dsn: str, model: str, folder: Path) -> None:
    weights = ("--dense-weight", "0", "--sparse-weight", "1")
    ways = json.loads(run(folder, dsn, "--model", model, "--json", *weights).stdout)["ways"]
    assert ways["hybrid"] == ways["token weights"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("corpus.jsonl", None, "cannot be read"),
        ("corpus.jsonl", "{", "line 1 of .*corpus.jsonl is not JSON"),
        ("corpus.jsonl", "[]", "is not a JSON object"),
        ("corpus.jsonl", '{"_id": 1, "text": ""}', "has no text called '_id'"),
        ("corpus.jsonl", '{"_id": "1", "text": ""}\n' * 2, "two documents with the same _id"),
        ("queries.jsonl", '{"_id": "a"}', "has no text called 'text'"),
        ("qrels/test.tsv", None, "neither .* nor .*: --split names one of none"),
        ("qrels/test.tsv", "a\t1\tgood\nb\t1\tgood\n", "line 2 of .* a whole number"),
        ("qrels/test.tsv", "a\t7\t1\n", "judges the document '7'"),
        ("qrels/test.tsv", "a\t1\t0\n", "no query with a relevant document"),
    ],
)
def test_a_collection_that_is_not_one(
    folder: Path, file: str, text: str | None, message: str
) -> None:
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(QueryError, match=message):
        read_collection(folder)


def test_another_split_and_judgements_without_a_folder(folder: Path) -> None:
    (folder / "qrels" / "dev.tsv").write_text("a\t6\t1\n")
    assert read_collection(folder, "dev").judged == {"a": {"6": 1}}
    (folder / "qrels.tsv").write_text("1\t2\t1\n")
    assert read_collection(folder, "none").judged == {"1": {"2": 1}}


def test_what_is_wrong_ends_the_command_and_leaves_nothing(
    dsn: str, connection: Connection, model: str, folder: Path
) -> None:
    answer = run(folder, dsn, "--model", model, "--text-config", "klingon")
    assert answer.exit_code == 1
    assert "klingon" in answer.output
    assert connection.execute(_SCHEMAS).fetchone() == (0,)
    assert run(folder / "none", dsn).exit_code == 2
