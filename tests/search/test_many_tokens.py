"""Documents of very many distinct tokens: an HNSW index on sparse vectors would refuse more than 1,000."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gte_pg.database import Connection, engine, find_table, load, postgres_version, run
from gte_pg.declaration import search_indexes, text_hash
from gte_pg.install import add_statements
from gte_pg.models import identify
from gte_pg.search import QueryVectors, Weights, search
from tests.tables import ARTICLES

_VOCABULARY = 250_048

_WRITE = """
INSERT INTO articles (id, title, embedding, embedding_sparse, embedding_hash, embedding_pending)
VALUES (%(id)s, %(title)s, %(dense)s::vector, %(sparse)s::sparsevec, %(hash)s, NULL)
"""


@pytest.mark.parametrize("tokens", [1_000, 1_001, 8_192])
def test_a_row_of_so_many_tokens_is_written_and_found(
    dsn: str, connection: Connection, model: str, tokens: int
) -> None:
    connection.execute(ARTICLES)
    declaration = replace(
        find_table(connection, "articles").declare(identify(model), ("title",)),
        sparse_dimensions=_VOCABULARY,
    )
    with engine(dsn).begin() as transaction:
        for statement in add_statements(declaration, postgres=postgres_version(transaction)):
            run(transaction, statement)
    for index in search_indexes(declaration):
        connection.execute(index.create(declaration))
    dense = str([declaration.dimensions**-0.5] * declaration.dimensions)
    for row, count in ((1, tokens), (2, 3)):
        # As the ORM's flush writes it: the vectors together with the text.
        entries = ",".join(f"{20 * token}:{0.1 + token % 7}" for token in range(1, count + 1))
        title = f"a text of {count} tokens"
        values = {
            "id": row,
            "title": title,
            "dense": dense,
            "sparse": f"{{{entries}}}/{_VOCABULARY}",
            "hash": text_hash(declaration.generation, title),
        }
        connection.execute(_WRITE, values)
    asked = QueryVectors(dense, f"{{{20 * tokens}:1}}/{_VOCABULARY}")
    articles = load(connection, "articles")
    assert articles.declaration == declaration
    (hit,) = search(connection, articles, asked, weights=Weights(0, 1))
    assert (hit.key, hit.complete) == ({"id": 1}, True)
    assert hit.sparse == pytest.approx(0.1 + tokens % 7)
