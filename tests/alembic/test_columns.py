"""What a migration does to columns of which an embedding's text is made, or its key."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from gte_pg.database import Connection, load
from gte_pg.declaration import Layout
from tests.alembic.application import (
    OTHER,
    Application,
    articles,
    embedding,
    encode,
    fill,
    is_sound,
    migrate,
)


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_source_column_changes_its_type(
    application: Application, reader: Connection, layout: Layout
) -> None:
    declared = embedding("title", layout=layout)
    migrate(application, articles(declared, text=sa.String(40)))
    fill(reader)
    encode(reader)
    written = migrate(application, articles(embedding("title", layout=layout), text=sa.Text))
    assert written.index("suspend_embedding") < written.index("alter_column")
    assert written.index("alter_column") < written.index("alter_embedding")
    assert is_sound(reader)
    vectors = load(reader, "articles").declaration.vectors.as_string()
    count = f"SELECT count(embedding) FROM {vectors}".encode()
    assert reader.execute(count).fetchone() == (2,), "the text is the same"
    application.downgrade()
    assert is_sound(reader)
    assert reader.execute(count).fetchone() == (2,)


def test_a_source_column_changes_its_type_and_the_embedding_its_model(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title"), text=sa.String(40)))
    fill(reader)
    encode(reader)
    written = migrate(application, articles(embedding("title", model=OTHER), text=sa.Text))
    upgrade = written[: written.index("def downgrade")]
    steps = ("remove_embedding", "alter_column", "add_embedding")
    assert sorted(steps, key=upgrade.index) == list(steps)
    encode(reader)
    assert is_sound(reader)


def test_a_source_column_that_was_renamed_keeps_its_vectors(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title")))
    fill(reader)
    encode(reader)
    reader.execute("ALTER TABLE articles RENAME COLUMN title TO headline")
    metadata = sa.MetaData()
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("headline", sa.Text),
        sa.Column("body", sa.Text),
        embedding("headline"),
    )
    assert "alter_embedding" in migrate(application, metadata)
    assert is_sound(reader)
    assert reader.execute("SELECT count(embedding) FROM articles").fetchone() == (2,)


def test_a_source_column_that_is_dropped_and_one_that_is_new(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title", "body")))
    fill(reader)
    metadata = sa.MetaData()
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("body", sa.Text),
        sa.Column("summary", sa.Text),
        embedding("body", "summary"),
    )
    migrate(application, metadata)
    encode(reader)
    assert is_sound(reader)
    application.downgrade()
    encode(reader)
    assert is_sound(reader)


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_the_key_changes_its_type(
    application: Application, reader: Connection, layout: Layout
) -> None:
    def metadata(length: int) -> sa.MetaData:
        made = sa.MetaData()
        sa.Table(
            "articles",
            made,
            sa.Column("id", sa.String(length), primary_key=True),
            sa.Column("title", sa.Text),
            sa.Column("body", sa.Text),
            embedding("title", layout=layout),
        )
        return made

    migrate(application, metadata(2))
    fill(reader)
    encode(reader)
    migrate(application, metadata(9))
    reader.execute("INSERT INTO articles (id, title) VALUES ('many', 'many')")
    encode(reader)
    assert is_sound(reader)
    reader.execute("DELETE FROM articles WHERE id = 'many'")
    application.downgrade()
    assert application.differences(metadata(2)) == []
    encode(reader)
    assert is_sound(reader)
