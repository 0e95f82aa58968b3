"""Search indexes: in a migration, for who does not leave them to `gte-pg sync`, and never proposed."""

from __future__ import annotations

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import UpgradeOps

from gte_pg.alembic import AddEmbeddingOp, CreateSearchIndexesOp
from gte_pg.database import Connection, load
from gte_pg.errors import DatabaseError
from gte_pg.sync.indexes import build_index, missing_search_indexes
from tests.alembic.application import (
    MODEL,
    Application,
    articles,
    embedding,
    encode,
    fill,
    is_sound,
    migrate,
)
from tests.tables import add_embedding, index_being_built

ARTICLES = "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text)"

PARTITIONED = f"""
{ARTICLES} PARTITION BY RANGE (id);
CREATE TABLE articles_few PARTITION OF articles FOR VALUES FROM (0) TO (3);
CREATE TABLE articles_more PARTITION OF articles FOR VALUES FROM (3) TO (9);
"""


def missing(connection: Connection) -> int:
    return len(missing_search_indexes(connection, load(connection, "articles").declaration))


def build_in_a_migration(application: Application, *, concurrently: bool) -> None:
    application.edit(
        upgrade=f"op.create_search_indexes('articles', concurrently={concurrently})",
        downgrade="op.drop_search_indexes('articles')",
    )
    application.upgrade()


@pytest.mark.parametrize("concurrently", [False, True])
@pytest.mark.parametrize("table", [ARTICLES, PARTITIONED], ids=["plain", "partitioned"])
def test_a_migration_builds_them_where_it_is_asked_to(
    application: Application, reader: Connection, table: str, concurrently: bool
) -> None:
    reader.execute(table.encode())
    fill(reader)
    add_embedding(application.dsn, reader, "articles", ("title",), MODEL)
    assert missing(reader) == 2
    if table == ARTICLES:
        # The name is taken by one that holds something else.
        reader.execute(
            "CREATE INDEX articles_embedding_dense ON articles USING hnsw (embedding vector_l2_ops)"
        )
    build_in_a_migration(application, concurrently=concurrently)
    assert missing(reader) == 0
    application.downgrade()
    assert missing(reader) == 2


def test_somebody_else_is_building_one(application: Application, reader: Connection) -> None:
    reader.execute(ARTICLES)
    fill(reader)
    migrate(application, articles(embedding("title")))
    registered = load(reader, "articles")
    with index_being_built(reader, "articles"):
        (index, _) = missing_search_indexes(reader, registered.declaration)
        assert not build_index(reader, registered, index)
        with pytest.raises(DatabaseError, match="run the migration again"):
            build_in_a_migration(application, concurrently=True)
    application.upgrade()
    assert missing(reader) == 0


def test_none_is_proposed_for_dropping(application: Application, reader: Connection) -> None:
    metadata = articles(embedding("title"))
    migrate(application, metadata)
    reader.execute("CREATE INDEX made_by_hand ON articles USING hnsw (embedding vector_l2_ops)")
    reader.execute("CREATE INDEX forgotten ON articles (body)")
    # After a rename of the table they have the names that they had.
    reader.execute("ALTER TABLE articles RENAME TO papers")
    renamed = metadata.tables["articles"].to_metadata(metadata, name="papers")
    metadata.remove(metadata.tables["articles"])
    (difference,) = application.differences(metadata)
    assert "forgotten" in str(difference), "that is Alembic's own business"
    fill_papers = "INSERT INTO papers (id, title) VALUES (1, 'a cat')"
    reader.execute(fill_papers.encode())
    encode(reader)
    assert is_sound(reader)
    assert renamed.name == "papers"


def test_how_they_are_written(application: Application, reader: Connection) -> None:
    reader.execute(ARTICLES)
    migrate(application, articles(embedding("title")))
    declaration = load(reader, "articles").declaration
    create = CreateSearchIndexesOp(declaration, concurrently=True)
    ops = UpgradeOps([AddEmbeddingOp(declaration), create])
    written = render_python_code(ops)
    assert (
        "op.create_search_indexes('articles', 'embedding', concurrently=True, schema='public')"
        in (written)
    )
    assert "op.drop_search_indexes('articles', 'embedding', schema='public')" in render_python_code(
        ops.reverse()
    )
    (_, again) = ops.reverse().reverse().ops
    assert isinstance(again, CreateSearchIndexesOp)
    assert again.concurrently
