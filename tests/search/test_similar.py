from __future__ import annotations

import psycopg
import pytest

from gte_pg.database import Connection
from gte_pg.declaration import Layout
from tests.tables import ARTICLES, add_embedding, drain


@pytest.mark.parametrize("which", ["model", "plain_model"])
def test_the_most_similar_rows_without_an_encoder(
    dsn: str, connection: Connection, which: str, request: pytest.FixtureRequest
) -> None:
    connection.execute(ARTICLES)
    connection.execute(
        "INSERT INTO articles VALUES (1, 'a cat on a mat'), (2, 'a cat on the mat'), "
        "(3, 'columns of a database'), (4, 'a cat on a mat'), (5, NULL)"
    )
    model = request.getfixturevalue(which)
    drain(connection, add_embedding(dsn, connection, "articles", ("title",), model))
    found = connection.execute("SELECT * FROM gte.similar('articles', '1', k => 2)").fetchall()
    assert [key for key, *_ in found] == [{"id": 4}, {"id": 2}]
    assert found[0][2] == pytest.approx(1, abs=1e-5)
    assert len(connection.execute("SELECT gte.similar('articles', '1')").fetchall()) == 3
    for statement, message in (
        ("SELECT gte.similar('articles', '99')", "no row with the key 99"),
        ("SELECT gte.similar('articles', '5')", "no vector yet"),
        ("SELECT gte.similar('articles', NULL)", "does not fit"),
        ("SELECT gte.similar('articles', '1', k => 0)", "at least one"),
        ("SELECT gte.similar('articles', '1', embedding => 'typo')", "no embedding named typo"),
        ("SELECT gte.similar('articles', '1''; DROP TABLE articles; --')", "bigint"),
    ):
        with pytest.raises(psycopg.Error, match=message):
            connection.execute(statement.encode())


def test_a_composite_key_and_odd_names(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(
        'CREATE TABLE "My %s" ("Re""gion" text, id int, t text, PRIMARY KEY ("Re""gion", id))'
    )
    connection.execute(
        """INSERT INTO "My %s" VALUES ('e''u', 1, 'cat'), ('us', 1, 'cat'), ('us', 2, 'x')"""
    )
    drain(connection, add_embedding(dsn, connection, '"My %s"', ("t",), model, name='v"%I'))
    found = connection.execute(
        "SELECT found_key FROM gte.similar('\"My %s\"', '[\"e''u\", \"1\"]', k => 1)"
    ).fetchall()
    assert found == [({'Re"gion': "us", "id": 1},)]


def test_a_key_of_a_composite_type(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute("CREATE TYPE place AS (shelf int, box text)")
    connection.execute("CREATE TABLE things (id place PRIMARY KEY, text text)")
    connection.execute("INSERT INTO things VALUES ('(1,a)', 'a cat'), ('(1,b)', 'a cat')")
    drain(connection, add_embedding(dsn, connection, "things", ("text",), model, layout=layout))
    found = connection.execute("SELECT found_key FROM gte.similar('things', '(1,a)')").fetchall()
    assert found == [({"id": {"shelf": 1, "box": "b"}},)]


def test_a_key_that_is_too_long_is_no_other(dsn: str, connection: Connection, model: str) -> None:
    connection.execute("CREATE TABLE things (id varchar(2), n char(1), PRIMARY KEY (id, n))")
    connection.execute("INSERT INTO things VALUES ('ab', 'c')")
    add_embedding(dsn, connection, "things", ("id",), model)
    for key in ('["abc", "c"]', '["ab", "cd"]'):
        with pytest.raises(psycopg.Error, match="no row with the key"):
            connection.execute("SELECT gte.similar('things', %s)", (key,))
