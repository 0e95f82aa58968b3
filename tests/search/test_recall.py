from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect
from gte_pg.errors import QueryError
from gte_pg.search.recall import dense_recall, measure, sample_questions
from tests.search.articles import fill
from tests.tables import add_embedding, drain


@pytest.fixture(params=["columns", "companion"])
def articles(
    dsn: str, connection: Connection, model: str, request: pytest.FixtureRequest
) -> Registered:
    fill(connection, 2_000)
    made = add_embedding(dsn, connection, "articles", ("title",), model, layout=request.param)
    drain(connection, made)
    return made


def test_a_wider_search_of_the_index_recalls_more(
    connection: Connection, articles: Registered
) -> None:
    questions = sample_questions(connection, articles.declaration, 30)
    assert len(questions) == 30
    narrow, wide = (
        dense_recall(connection, articles.declaration, questions, ef_search=width)
        for width in (1, 1_000)
    )
    assert narrow.recall < wide.recall
    assert wide.recall >= 0.99
    assert (wide.queries, wide.k) == (30, 10)
    assert 0 < wide.p50 <= wide.p95


def test_rows_that_are_written_meanwhile_are_not_missed(
    dsn: str, connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sys.modules["gte_pg.search.recall"]._nearest
    with connect(dsn) as application:

        def written(*arguments: Any) -> tuple[dict[str, float], float]:
            found: tuple[dict[str, float], float] = original(*arguments)
            application.execute(
                "UPDATE articles SET title = title || '.' WHERE id::text = ANY (%s)",
                (list(found[0]),),
            )
            return found

        questions = sample_questions(connection, articles.declaration, 10)
        monkeypatch.setattr("gte_pg.search.recall._nearest", written)
        found = dense_recall(connection, articles.declaration, questions, ef_search=1_000)
    assert found.recall >= 0.99


def test_the_default_path_is_measured_beside_the_exact_one(
    connection: Connection, articles: Registered
) -> None:
    questions = sample_questions(connection, articles.declaration, 20)
    path = measure(connection, articles, questions)
    assert path.found.recall >= 0.99
    assert path.exact.recall == 1
    assert 0.9 <= path.complete <= 1
    assert connection.execute("SELECT current_setting('gte.candidates', true)").fetchone() in (
        (None,),
        ("",),
    )


def test_nothing_to_measure_with(dsn: str, connection: Connection, model: str) -> None:
    fill(connection, 5)
    made = add_embedding(dsn, connection, "articles", ("title",), model)
    with pytest.raises(QueryError, match="no row with a vector"):
        sample_questions(connection, made.declaration, 10)


def test_the_command(dsn: str, articles: Registered, tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("a cat on the mat\n\ndatabase rows\n")
    for options in (["--sample", "10"], ["--queries", str(file)]):
        asked = ["recall", "articles", "--dsn", dsn, *options]
        told = json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)
        assert told["search"]["400"]["found"]["recall"] >= 0.99
        assert told["suggested_candidates"] == 400
        assert set(told["dense_index"]) == {"40", "100", "200", "400", "800"}
        shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, asked)
        assert shown.exit_code == 0, shown.output
        assert all(len(line) <= 80 for line in shown.output.splitlines())
    for wrong in (["--limit", "0"], ["--target", "2"], ["--target", "nan"]):
        refused = CliRunner().invoke(main, ["recall", "articles", *wrong, "--dsn", dsn])
        assert f"Error: {wrong[0]} is {wrong[1]}" in refused.output
