from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import QueryError
from gte_pg.search import Weights, encode_query, explain, search
from tests.search.articles import WEIGHTS, fill
from tests.tables import add_embedding, drain


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_every_rank_and_score_is_the_exact_searchs(
    dsn: str, connection: Connection, model: str, encoder: Encoder, layout: Layout
) -> None:
    fill(connection, 500)
    articles = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, articles)
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    for weights in WEIGHTS:
        hits = search(connection, articles, query, limit=500, weights=weights, exact=True)
        for place in (0, 1, 7, len(hits) - 1):
            hit = hits[place]
            row = explain(connection, articles, encoder, query, str(hit.key["id"]), weights=weights)
            assert (row.score, row.dense, row.sparse) == (hit.score, hit.dense, hit.sparse)
            assert (row.rank, row.rows) == (place + 1, 500)
            assert sum(token.product for token in row.tokens) == pytest.approx(row.sparse, abs=1e-5)
        best = explain(
            connection, articles, encoder, query, str(hits[0].key["id"]), weights=weights
        )
        assert best.in_dense_leg == (weights.dense > 0)
        assert best.in_token_leg == (weights.sparse > 0)
    last = explain(connection, articles, encoder, query, str(hits[-1].key["id"]), limit=1)
    assert last.in_dense_leg is False


def test_what_is_wrong_is_said(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute("CREATE TABLE parts (a text, b int, title text, PRIMARY KEY (a, b))")
    connection.execute("INSERT INTO parts VALUES ('x', 1, 'a cat'), ('x', 2, NULL)")
    parts = add_embedding(dsn, connection, "parts", ("title",), model)
    drain(connection, parts)
    query = encode_query(encoder, parts.declaration, "cat")
    assert explain(connection, parts, encoder, query, '["x", "1"]').rank == 1
    for key, message in (
        ('["x", "3"]', "no row with the key"),
        ('["x", "2"]', "no vector"),
        ('["x"]', "does not fit"),
        ("x", "does not fit"),
        ("{", "does not fit"),
        ('["x", "1; DROP TABLE parts"]', "is no key of public.parts: invalid input syntax"),
    ):
        with pytest.raises(QueryError, match=message):
            explain(connection, parts, encoder, query, key)


def test_the_command_fits_a_terminal(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    fill(connection, 500)
    articles = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, articles)
    query = encode_query(encoder, articles.declaration, "a cat")
    (hit, *_) = search(connection, articles, query, weights=Weights())
    asked = ["explain", "articles", "a cat", str(hit.key["id"]), "--dsn", dsn]
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, asked)
    assert shown.exit_code == 0, shown.output
    assert all(len(line) <= 80 for line in shown.output.splitlines())
    assert "number 1 of 500" in shown.output
    told = json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)
    assert told["score"] == hit.score
    assert told["rank"] == 1
    assert {"token", "in_query", "in_row", "product"} == set(told["tokens"][0])
