from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import Storage
from gte_pg.encoder import Encoder
from gte_pg.errors import QueryError
from gte_pg.search import Hit, QueryVectors, Weights, encode_query, search
from gte_pg.search.query import parse_sparse
from tests.postgres import new_database
from tests.tables import ARTICLES, add_embedding, drain

ROWS = 3_000

Bare = tuple[str, Connection]

WEIGHTS = [Weights(), Weights(1, 0.3), Weights(1, 1), Weights(0.2, 5), Weights(0, 1), Weights(1, 0)]

# Texts that share words in every proportion.
_FILL = """
SELECT setseed(0.5);
INSERT INTO articles
SELECT n, (
    SELECT string_agg(word, ' ')
    FROM (
        SELECT (ARRAY['the', 'cat', 'sat', 'on', 'a', 'mat', 'row', 'column', 'keeps', 'order',
                      'database', 'lines', 'données', '数据库', 'un', 'кот'])[1 + floor(16 * random())]
        FROM generate_series(1, 3 + n % 9)
    ) AS words (word)
)
FROM generate_series(1, {rows}) AS n
"""

QUERIES = ["a cat on the mat", "database", "数据库 rows", "кот", "un order of columns", "zzz"]


def fill(connection: Connection, rows: int = ROWS) -> None:
    connection.execute(ARTICLES)
    connection.execute(_FILL.format(rows=rows).encode())


@pytest.fixture(scope="module")
def library(server: str, template: str, model: str) -> Iterator[str]:
    """The name of a database with 3,000 encoded articles."""
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            fill(connection)
            drain(connection, add_embedding(dsn, connection, "articles", ("title",), model))
            connection.execute("ANALYZE articles")
        yield name


@pytest.fixture
def connection(server: str, library: str) -> Iterator[Connection]:
    """A connection to a copy of that database."""
    with (
        new_database(server, library) as name,
        connect(make_conninfo(server, dbname=name)) as connection,
    ):
        yield connection


@pytest.fixture
def articles(connection: Connection) -> Registered:
    return load(connection, "articles")


@pytest.fixture
def bare(dsn: str) -> Iterator[Bare]:
    """A database without articles, and a connection to it."""
    with connect(dsn) as connection:
        yield dsn, connection


def stored(connection: Connection) -> dict[int, tuple[np.ndarray, dict[int, float]]]:
    found = connection.execute(
        "SELECT id, embedding::vector::real[], embedding_sparse::text FROM articles"
    ).fetchall()
    return {
        key: (np.array(dense, np.float64), parse_sparse(sparse or ""))
        for key, dense, sparse in found
    }


def reference(
    connection: Connection, query: QueryVectors, weights: Weights
) -> dict[int, tuple[float, float, float]]:
    """Return score, dense and sparse part of every row by the reference formula."""
    dense_query = np.array(eval(query.dense))
    sparse_query = parse_sparse(query.sparse)
    scores = {}
    for key, (dense, sparse) in stored(connection).items():
        dense_part = float(dense @ dense_query)
        sparse_part = sum(w * sparse.get(token, 0.0) for token, w in sparse_query.items())
        scores[key] = (
            weights.dense * dense_part + weights.sparse * sparse_part,
            dense_part,
            sparse_part,
        )
    return scores


def check_scores(
    hits: list[Hit], truth: dict[int, tuple[float, float, float]], tolerance: float
) -> None:
    for hit in hits:
        expected = truth[hit.key["id"]]
        assert (hit.score, hit.dense, hit.sparse) == pytest.approx(expected, abs=tolerance)
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.key["id"]))


@pytest.mark.parametrize("storage", ["vector", "halfvec"])
@pytest.mark.parametrize("exact", [True, False])
def test_scores_are_the_reference_formula_on_the_stored_vectors(
    bare: Bare, model: str, encoder: Encoder, storage: Storage, exact: bool
) -> None:
    dsn, connection = bare
    fill(connection, 300)
    registered = add_embedding(dsn, connection, "articles", ("title",), model, storage=storage)
    drain(connection, registered)
    tolerance = 1e-5 if storage == "vector" else 2e-3
    for weights in WEIGHTS:
        for text in QUERIES:
            query = encode_query(encoder, registered.declaration, text)
            hits = search(connection, registered, query, weights=weights, exact=exact)
            truth = reference(connection, query, weights)
            assert len(hits) == 10 or weights.dense == 0
            check_scores(hits, truth, tolerance)


def test_exact_is_the_true_top_k(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    for weights in WEIGHTS:
        query = encode_query(encoder, articles.declaration, "a cat on the mat")
        hits = search(connection, articles, query, limit=50, weights=weights, exact=True)
        truth = reference(connection, query, weights)
        best = sorted((score for score, _, _ in truth.values()), reverse=True)[:50]
        assert [hit.score for hit in hits] == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_the_indexes_find_what_the_scan_finds(
    connection: Connection, articles: Registered, encoder: Encoder, weights: Weights
) -> None:
    found = wanted = 0
    for text in QUERIES[:-1]:
        query = encode_query(encoder, articles.declaration, text)
        fast = search(connection, articles, query, weights=weights)
        true = search(connection, articles, query, weights=weights, exact=True)
        # Many texts are equal up to the order of their words: scores decide, not keys.
        worst = true[len(fast) - 1].score
        found += sum(hit.score >= worst - 1e-6 for hit in fast)
        wanted += len(fast)
        assert len(fast) == 10
    assert found / wanted >= 0.98


def test_both_indexes_are_used(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "database кот")
    (stored,) = connection.execute("SELECT search_statement FROM gte.embedding").fetchone() or ("",)
    statement = stored.replace('"{relation}"', "articles")
    connection.execute(
        f"PREPARE hybrid (text, text, int, float8, float8, int) AS {statement}".encode()
    )
    vectors = f"'{query.dense}', '{query.sparse}'"
    run = f"EXPLAIN (ANALYZE) EXECUTE hybrid ({vectors}, 10, 1.0, %s, {articles.id})"
    hybrid, dense = (
        [row[0] for row in connection.execute((run % weight).encode()).fetchall()]
        for weight in ("0.1", "0")
    )

    def executed(plan: list[str], node: str) -> bool:
        (found, *_) = [line for line in plan if node in line]
        return "never executed" not in found

    for plan in (hybrid, dense):
        assert executed(plan, "Index Scan using articles_embedding_dense")
    assert executed(hybrid, "Bitmap Index Scan on articles_embedding_tokens")
    assert not executed(dense, "Seq Scan on articles")


def test_a_leg_with_weight_zero_is_not_run(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "кот")
    hits = search(connection, articles, query, weights=Weights(0, 1), limit=1000)
    truth = reference(connection, query, Weights(0, 1))
    assert {hit.key["id"] for hit in hits} <= {key for key, (score, _, _) in truth.items() if score}


def test_the_sql_function_answers_like_python(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    for weights in WEIGHTS:
        for exact in (False, True):
            rows = connection.execute(
                "SELECT * FROM gte.search('articles', %s, %s, k => 7, dense_weight => %s, "
                "sparse_weight => %s, exact => %s)",
                (query.dense, query.sparse, weights.dense, weights.sparse, exact),
            ).fetchall()
            hits = search(connection, articles, query, limit=7, weights=weights, exact=exact)
            assert [Hit(*row) for row in rows] == hits


def test_rows_without_a_vector_are_not_found(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("UPDATE articles SET title = 'changed' WHERE id <= 2995")
    query = encode_query(encoder, articles.declaration, "cat")
    for exact in (True, False):
        hits = search(connection, articles, query, limit=10, exact=exact)
        assert {hit.key["id"] for hit in hits} == {2996, 2997, 2998, 2999, 3000}


def test_ties_come_in_the_order_of_the_key(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("UPDATE articles SET title = 'same'")
    drain(connection, articles)
    # In different batches a text's vector may differ in the last bit: equal vectors tie.
    connection.execute(
        "UPDATE articles a SET embedding = b.embedding, embedding_sparse = b.embedding_sparse "
        "FROM articles b WHERE b.id = 1"
    )
    query = encode_query(encoder, articles.declaration, "same")
    hits = search(connection, articles, query, limit=10, exact=True)
    assert [hit.key["id"] for hit in hits] == list(range(1, 11))


def test_more_rows_than_there_are(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "cat")
    assert len(search(connection, articles, query, limit=10_000_000)) == ROWS


def test_settings_of_a_search_end_with_it(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "cat")
    search(connection, articles, query)
    assert connection.execute("SHOW hnsw.ef_search").fetchone() == ("40",)


def test_a_model_without_token_weights(bare: Bare, plain_model: str) -> None:
    dsn, connection = bare
    fill(connection, 200)
    registered = add_embedding(dsn, connection, "articles", ("title",), plain_model)
    drain(connection, registered)
    query = encode_query(Encoder.load(plain_model), registered.declaration, "cat")
    fast = search(connection, registered, query)
    assert [hit.sparse for hit in fast] == [0.0] * 10
    assert fast == search(connection, registered, query, exact=True)
    rows = connection.execute("SELECT * FROM gte.search('articles', %s)", (query.dense,)).fetchall()
    assert [Hit(*row) for row in rows] == fast


@pytest.mark.parametrize("weights", [(-1, 0), (1, -0.1), (0, 0), (math.nan, 1), (1, math.inf)])
def test_weights_that_mean_nothing(
    connection: Connection, articles: Registered, weights: tuple[float, float]
) -> None:
    with pytest.raises(QueryError):
        Weights(*weights)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="weights"):
        connection.execute(
            "SELECT gte.search('articles', array_fill(1, ARRAY[64])::vector, "
            "dense_weight => %s, sparse_weight => %s)",
            weights,
        )


@pytest.mark.parametrize("limit", [0, -1])
def test_no_rows_asked_for(
    connection: Connection, articles: Registered, encoder: Encoder, limit: int
) -> None:
    query = encode_query(encoder, articles.declaration, "cat")
    with pytest.raises(QueryError, match=str(limit)):
        search(connection, articles, query, limit=limit)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute("SELECT gte.search('articles', %s, k => %s)", (query.dense, limit))


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_query(articles: Registered, encoder: Encoder, text: str) -> None:
    with pytest.raises(QueryError, match="empty"):
        encode_query(encoder, articles.declaration, text)


def test_the_sql_function_says_what_is_wrong(connection: Connection, articles: Registered) -> None:
    connection.execute("CREATE TABLE bare (id int)")
    with pytest.raises(psycopg.errors.UndefinedObject, match="bare has no embedding"):
        connection.execute("SELECT gte.search('bare', array_fill(1, ARRAY[64])::vector)")
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT gte.search('nowhere', array_fill(1, ARRAY[64])::vector)")
    with pytest.raises(psycopg.errors.DataException, match="64 dimensions, not 3"):
        connection.execute("SELECT gte.search('articles', '[1,2,3]')")
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        connection.execute("SELECT gte.search('articles', NULL)")


def test_a_long_document_is_no_trouble_for_the_token_index(
    connection: Connection, articles: Registered
) -> None:
    """pgvector's own index of sparse vectors refuses rows with over 1,000 tokens."""
    connection.execute("UPDATE articles SET title = repeat(title || ' ', 20000) WHERE id = 1")
    assert drain(connection, articles).left == 0
    many = ",".join(f"{token}:0.5" for token in range(1, 369))
    connection.execute(
        "UPDATE articles SET embedding_sparse = %s::sparsevec WHERE id = 2", (f"{{{many}}}/368",)
    )
    assert connection.execute(
        "SELECT cardinality(gte.sparse_keys(embedding_sparse, 0.25)) FROM articles WHERE id = 2"
    ).fetchone() == (368,)
