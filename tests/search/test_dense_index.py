"""The dense index may hold less than the vectors: what it brings is scored by the whole of them."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from gte_pg import Embedding
from gte_pg.cli import main
from gte_pg.database import Connection, engine, load
from gte_pg.declaration import Declaration, KeyColumn, Layout, Storage, search_indexes
from gte_pg.encoder import Encoder
from gte_pg.errors import DeclarationError
from gte_pg.search import Weights, dense_recall, encode_query, explain, sample_questions, search
from gte_pg.sync.indexes import missing_search_indexes
from tests.search.articles import QUERIES, executed, fill, plan_of, reference, stored
from tests.tables import ARTICLES, add_embedding, drain

_DEFINITION = "SELECT pg_get_indexdef('articles_embedding_dense'::regclass)"


@pytest.mark.parametrize(
    ("storage", "layout", "index_dimensions", "definition"),
    [
        ("vector", "columns", None, "((embedding)::halfvec({all})) halfvec_ip_ops"),
        ("halfvec", "columns", None, "(embedding halfvec_ip_ops)"),
        (
            "vector",
            "companion",
            24,
            "((subvector(embedding, 1, 24))::halfvec(24)) halfvec_cosine_ops",
        ),
        (
            "halfvec",
            "columns",
            24,
            "((subvector(embedding, 1, 24))::halfvec(24)) halfvec_cosine_ops",
        ),
    ],
)
def test_what_the_index_holds_brings_rows_that_whole_vectors_score(
    dsn: str,
    connection: Connection,
    model: str,
    encoder: Encoder,
    storage: Storage,
    layout: Layout,
    index_dimensions: int | None,
    definition: str,
) -> None:
    fill(connection, 1_000)
    made = add_embedding(
        *(dsn, connection, "articles", ("title",), model),
        storage=storage,
        layout=layout,
        index_dimensions=index_dimensions,
    )
    drain(connection, made)
    connection.execute("ANALYZE")
    # The registry keeps it.
    articles = load(connection, "articles")
    assert articles.declaration == made.declaration
    assert missing_search_indexes(connection, articles.declaration) == []
    (written,) = connection.execute(_DEFINITION).fetchone() or ("",)
    assert definition.format(all=articles.declaration.dimensions) in written
    tolerance = 1e-5 if storage == "vector" else 2e-3
    found = wanted = 0
    rows = stored(connection, articles.declaration)
    for weights in (Weights(), Weights(1, 0), Weights(1, 1)):
        for text in QUERIES:
            query = encode_query(encoder, articles.declaration, text)
            truth = reference(rows, query, weights)
            hits = search(connection, articles, query, weights=weights)
            for hit in hits:
                expected = truth[hit.key["id"]]
                assert (hit.score, hit.dense, hit.sparse) == pytest.approx(expected, abs=tolerance)
            worst = sorted((score for score, _, _ in truth.values()), reverse=True)[9]
            found += sum(hit.score >= worst - tolerance for hit in hits)
            wanted += 10
    assert found / wanted >= 0.95
    # For so few rows a scan would do; that the index serves the search is what is asked here.
    connection.execute("SET enable_seqscan = off")
    plan = plan_of(connection, articles, query, Weights(1, 0))
    assert executed(plan, "Index Scan using articles_embedding_dense") == [True]
    best = search(connection, articles, query)[0]
    told = explain(connection, articles, encoder, query, str(best.key["id"]))
    assert told.score == best.score
    assert told.in_dense_leg
    questions = sample_questions(connection, articles.declaration, 10)
    told_of_index = dense_recall(connection, articles.declaration, questions, ef_search=1_000)
    assert told_of_index.recall >= (0.99 if index_dimensions is None else 0.8)


def test_an_index_of_other_dimensions_is_made_anew(
    dsn: str, connection: Connection, model: str
) -> None:
    fill(connection, 20)
    articles = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, articles)
    connection.execute("UPDATE gte.embedding SET index_dimensions = 16")
    (missing,) = missing_search_indexes(connection, load(connection, "articles").declaration)
    assert missing.name == "articles_embedding_dense"
    drain(connection, load(connection, "articles"))
    (written,) = connection.execute(_DEFINITION).fetchone() or ("",)
    assert re.search(r"subvector\(embedding, 1, 16\)", written)


@pytest.mark.parametrize("asked", [0, -1, 100_000])
def test_an_index_cannot_hold_more_than_there_is(
    dsn: str, connection: Connection, model: str, asked: int
) -> None:
    fill(connection, 1)
    with pytest.raises(DeclarationError, match="index_dimensions is .* can hold 1 to "):
        add_embedding(dsn, connection, "articles", ("title",), model, index_dimensions=asked)


@pytest.mark.parametrize("storage", ["vector", "halfvec"])
def test_vectors_too_long_for_hnsw_are_indexed_by_their_first_dimensions(
    connection: Connection, storage: Storage
) -> None:
    declaration = Declaration(
        schema=None,
        table="long",
        key=(KeyColumn("id", "bigint"),),
        source=("text",),
        name="embedding",
        model="long",
        generation="long@1/float32/4096",
        dimensions=4_096,
        sparse_dimensions=None,
        storage=storage,
    )
    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    connection.execute(f"CREATE TABLE long (id bigint, embedding {storage}(4096))".encode())
    connection.execute(
        f"INSERT INTO long SELECT n, array_fill(n * 0.001, '{{4096}}')::real[]::{storage} "
        "FROM generate_series(1, 5) AS n".encode()
    )
    (dense,) = search_indexes(declaration)
    connection.execute(dense.create(declaration))
    assert missing_search_indexes(connection, declaration) == []


def test_the_command_and_the_orm_declare_it(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(ARTICLES)
    asked = ["add", "articles", "--source", "title", "--model", model, "--index-dimensions", "16"]
    answer = CliRunner().invoke(main, [*asked, "--dsn", dsn])
    assert answer.exit_code == 0, answer.output
    assert load(connection, "articles").declaration.index_dimensions == 16
    notes = sa.Table(
        "notes",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("text", sa.Text),
        Embedding("text", name="embedding", model=model, index_dimensions=16),
    )
    with engine(dsn).begin() as transaction:
        notes.create(transaction)
    declaration = load(connection, "notes").declaration
    assert declaration.index_dimensions == 16
    # The new table has its index at once.
    assert missing_search_indexes(connection, declaration) == []
