"""What autogenerate proposes for a changed declaration runs both ways, and leaves nothing to propose."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from psycopg import sql

from gte_pg.database import Connection, connect, load, load_all
from gte_pg.declaration import Layout, drop_capture
from gte_pg.orm import Embedding
from gte_pg.sync import count_broken
from tests.alembic.application import (
    MODEL,
    OTHER,
    Application,
    articles,
    embedding,
    encode,
    fill,
    is_sound,
    migrate,
)
from tests.tables import add_embedding, drain


def test_a_table_is_made_with_its_embedding_and_dropped_with_it(
    application: Application, reader: Connection
) -> None:
    metadata = articles(embedding("title", "body"))
    written = migrate(application, metadata)
    assert "gte_pg" not in written.partition("add_embedding")[0]
    assert "VECTOR" not in written
    assert written.index("create_table") < written.index("add_embedding")
    fill(reader)
    encode(reader)
    assert is_sound(reader)
    assert application.differences(metadata) == []
    application.downgrade()
    assert load_all(reader) == []
    assert reader.execute("SELECT to_regclass('articles')").fetchone() == (None,)
    application.upgrade()
    assert application.differences(metadata) == []


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_table_goes_with_its_embedding_and_comes_back_with_it(
    application: Application, reader: Connection, layout: Layout
) -> None:
    metadata = articles(embedding("title", layout=layout))
    migrate(application, metadata)
    fill(reader)
    encode(reader)
    written = migrate(application, sa.MetaData())
    assert "VECTOR" not in written
    assert load_all(reader) == []
    assert reader.execute("SELECT FROM pg_class WHERE relname ~ '^articles'").fetchall() == []
    application.downgrade()
    assert application.differences(metadata) == []
    fill(reader)
    encode(reader)
    assert is_sound(reader)


@pytest.mark.model
def test_a_model_with_an_impact_step_that_has_no_exact_value(application: Application) -> None:
    metadata = articles(embedding("title", model="all-MiniLM-L6-v2"))
    assert "impact_step=0.088," in migrate(application, metadata)
    assert "impact_step=0.088," in migrate(application, articles())


# From one declaration to another: what is said, and how many of three rows keep their vectors.
CHANGES: dict[str, tuple[list[Embedding], list[Embedding], str, int]] = {
    "added": ([], [embedding("title", "body")], "add_embedding", 0),
    "removed": ([embedding("title")], [], "remove_embedding", 0),
    "storage": (
        [embedding("title", "body")],
        [embedding("title", "body", storage="halfvec")],
        "remove_embedding",
        0,
    ),
    "layout": (
        [embedding("title", "body")],
        [embedding("title", "body", layout="companion")],
        "layout='companion'",
        0,
    ),
    "layout back": (
        [embedding("title", "body", layout="companion")],
        [embedding("title", "body")],
        "layout='companion'",
        0,
    ),
    "on_change": (
        [embedding("title", "body")],
        [embedding("title", "body", on_change="keep")],
        "alter_embedding",
        3,
    ),
    "source": ([embedding("title", "body")], [embedding("body")], "alter_embedding", 1),
    "template": (
        [embedding("title", "body")],
        [embedding(template="{title}\n{body}")],
        "alter_embedding",
        3,
    ),
    "expression": (
        [embedding("title", "body", layout="companion")],
        [embedding(expression="coalesce({body}, '')", layout="companion")],
        "alter_embedding",
        1,
    ),
    "index_dimensions": (
        [embedding("title", "body")],
        [embedding("title", "body", index_dimensions=32)],
        "alter_embedding",
        3,
    ),
    "a second one": (
        [embedding("title", "body")],
        [embedding("title", "body"), embedding("title", name="titles", model=OTHER)],
        "'titles'",
        3,
    ),
    "another name": (
        [embedding("title", "body", name="one")],
        [embedding("title", "body", name="embedding")],
        "add_embedding",
        0,
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_a_change_is_seen_made_and_undone(
    application: Application, reader: Connection, change: str
) -> None:
    before, after, said, kept = CHANGES[change]
    former, latter = articles(*before), articles(*after)
    migrate(application, former)
    fill(reader)
    encode(reader)
    assert application.differences(former) == []
    written = application.revise(latter)
    assert said in written
    for _ in range(2):
        application.upgrade()
        if kept:
            assert count_broken(reader, load(reader, "articles", "embedding")) == 0
        assert application.differences(latter) == []
        if after:
            vectors = load(reader, "articles", "embedding").declaration.vectors.as_string()
            encoded = reader.execute(f"SELECT count(embedding) FROM {vectors}".encode())
            assert encoded.fetchone() == (kept,)
        encode(reader)
        assert is_sound(reader)
        application.downgrade()
        assert application.differences(former) == []
        encode(reader)
        assert is_sound(reader)


def test_another_dense_index_keeps_nobody_waiting(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title")))
    fill(reader)
    narrow = articles(embedding("title", index_dimensions=32))
    application.revise(narrow)
    limit = sql.SQL("ALTER DATABASE {} SET lock_timeout = '5s'")
    reader.execute(limit.format(sql.Identifier(reader.info.dbname)))
    with connect(application.dsn) as writer, writer.transaction():
        writer.execute("UPDATE articles SET title = 'a bird' WHERE id = 1")
        application.upgrade()
    assert application.differences(narrow) == []


def test_another_dense_index_of_one_that_is_suspended_brings_its_triggers_back(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title")))
    fill(reader)
    for statement in drop_capture(load(reader, "articles").declaration):
        reader.execute(statement)
    reader.execute("INSERT INTO articles (id, title) VALUES (9, 'a bird')")
    migrate(application, articles(embedding("title", index_dimensions=32)))
    assert is_sound(reader)


def test_rows_that_lose_or_gain_their_text_by_another_source(
    application: Application, reader: Connection
) -> None:
    for layout in ("columns", "companion"):
        migrate(application, articles(embedding("title", layout=layout)))
        reader.execute("TRUNCATE articles")
        fill(reader)
        migrate(application, articles(embedding("body", layout=layout)))
        declaration = load(reader, "articles").declaration
        states = reader.execute(
            f"SELECT id, embedding_pending IS NOT NULL FROM {declaration.vectors.as_string()} "
            "ORDER BY id".encode()
        ).fetchall()
        assert states == [(1, True), (2, False), (3, True), (4, False)]
        assert is_sound(reader)


def test_what_gte_pg_added_by_itself_is_not_proposed_again(
    application: Application, reader: Connection
) -> None:
    reader.execute("CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)")
    fill(reader)
    registered = add_embedding(application.dsn, reader, "articles", ("title",), MODEL)
    drain(reader, registered)
    assert application.differences(articles(embedding("title"))) == []
