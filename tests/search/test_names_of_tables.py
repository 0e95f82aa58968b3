"""A table may be called as the search statement calls a part of itself."""

from __future__ import annotations

import pytest

from gte_pg.database import Connection
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.search import encode_query
from tests.tables import ARTICLES, add_embedding, drain

NAMES = (
    "query goal named ranked_keys token_rows token_leg dense_leg so_far further_named further_rows "
    "further_leg best candidates found seen chosen counted possible_keys bucket entry embedding"
)


@pytest.mark.parametrize("which", ["relation", "vectors"])
def test_whatever_a_table_is_called_sql_searches_it(
    dsn: str, connection: Connection, model: str, encoder: Encoder, layout: Layout, which: str
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'a cat'), (2, 'the database')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, articles)
    query = encode_query(encoder, articles.declaration, "a cat")
    table = getattr(articles.declaration, which).as_string()
    asked = (articles.declaration.relation.as_string(),)
    (relation,) = connection.execute("SELECT %s::regclass::oid", asked).fetchone() or (0,)
    for name in NAMES.split():
        connection.execute(f"ALTER TABLE {table} RENAME TO {name}".encode())
        table = name
        for exact in (False, True):
            found = connection.execute(
                "SELECT key FROM gte.search(%s::oid, %s, %s, exact => %s)",
                (relation, query.dense, query.sparse, exact),
            ).fetchall()
            assert [key["id"] for (key,) in found] == [1, 2]
            found = connection.execute(
                "SELECT found_key FROM gte.similar(%s::oid, '1', exact => %s)", (relation, exact)
            ).fetchall()
            assert [key["id"] for (key,) in found] == [2]
