from __future__ import annotations

import math
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import Storage
from gte_pg.encoder import Encoder
from gte_pg.errors import QueryError
from gte_pg.search import Hit, Weights, encode_query, search
from tests.postgres import new_database
from tests.search.articles import QUERIES, ROWS, WEIGHTS, executed, fill, plan_of, reference, stored
from tests.tables import add_embedding, drain

Bare = tuple[str, Connection]


@pytest.fixture(scope="module", params=["columns", "companion"])
def library(
    server: str, template: str, model: str, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The name of a database with 3,000 encoded articles, in each layout."""
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            fill(connection)
            drain(
                connection,
                add_embedding(dsn, connection, "articles", ("title",), model, layout=request.param),
            )
            connection.execute("ANALYZE")
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
    rows = stored(connection, registered.declaration)
    for weights in WEIGHTS:
        for text in QUERIES:
            query = encode_query(encoder, registered.declaration, text)
            hits = search(connection, registered, query, weights=weights, exact=exact)
            truth = reference(rows, query, weights)
            assert len(hits) == 10 or weights.dense == 0
            check_scores(hits, truth, tolerance)


def test_exact_is_the_true_top_k(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    rows = stored(connection, articles.declaration)
    for weights in WEIGHTS:
        query = encode_query(encoder, articles.declaration, "a cat on the mat")
        hits = search(connection, articles, query, limit=50, weights=weights, exact=True)
        truth = reference(rows, query, weights)
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
    vectors = articles.declaration.vectors.as_string().rpartition(".")[2].strip('"')
    hybrid, dense = (
        plan_of(connection, articles, query, weights) for weights in (Weights(), Weights(1, 0))
    )
    for plan in (hybrid, dense):
        assert executed(plan, "Index Scan using articles_embedding_dense") == [True]
        assert not any(executed(plan, f"Seq Scan on {vectors}"))
    assert executed(hybrid, f"Tid Scan on {vectors}")[0]


def test_a_leg_with_weight_zero_is_not_run(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "кот")
    hits = search(connection, articles, query, weights=Weights(0, 1), limit=1000)
    truth = reference(stored(connection, articles.declaration), query, Weights(0, 1))
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
    vectors = articles.declaration.vectors.as_string()
    connection.execute(
        f"UPDATE {vectors} a SET embedding = b.embedding, embedding_sparse = b.embedding_sparse "
        f"FROM {vectors} b WHERE b.id = 1".encode()
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
    vectors = articles.declaration.vectors.as_string()
    connection.execute(
        f"UPDATE {vectors} SET embedding_sparse = '{{{many}}}/368' WHERE id = 2".encode()
    )
    assert connection.execute(
        "SELECT cardinality(gte.sparse_keys(embedding_sparse, 0.25)) "
        f"FROM {vectors} WHERE id = 2".encode()
    ).fetchone() == (368,)
