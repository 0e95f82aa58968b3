"""The application's tables: their names, their columns, and those that are not its own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gte_pg.database import Connection, load, load_all
from gte_pg.declaration import Layout
from gte_pg.orm import Embedding
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
from tests.tables import add_embedding


def test_operations_go_on_after_the_first_has_made_the_schema_of_gte_pg(
    application: Application, reader: Connection
) -> None:
    metadata = articles(embedding("title"), embedding("body", name="bodies", layout="companion"))
    sa.Table(
        "notes",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("text", sa.Text),
        embedding("text"),
    )
    written = migrate(application, metadata)
    assert written.count("op.add_embedding") == 3
    assert len(load_all(reader)) == 3


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_names_schemas_and_composite_keys(
    application: Application, reader: Connection, layout: Layout
) -> None:
    application.include_schemas = True
    reader.execute('CREATE SCHEMA "Verlag"')

    def metadata(*embeddings: Embedding) -> sa.MetaData:
        made = sa.MetaData()
        sa.Table(
            'Größe "%s"',
            made,
            sa.Column("Ort", sa.String(3), primary_key=True),
            sa.Column("id", sa.Uuid, primary_key=True),
            sa.Column("der Text", sa.Text),
            *embeddings,
            schema="Verlag",
        )
        return made

    declared = metadata(embedding("der Text", name="Vektor", layout=layout))
    written = migrate(application, declared)
    assert "'Vektor'" in written
    reader.execute(
        'INSERT INTO "Verlag"."Größe ""%s""" VALUES (\'bln\', gen_random_uuid(), \'cat\')'
    )
    encode(reader)
    assert is_sound(reader)
    assert application.differences(declared) == []
    migrate(application, metadata())
    application.downgrade()
    assert application.differences(declared) == []
    application.downgrade()
    assert load_all(reader) == []


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


def test_nothing_of_others_is_touched(application: Application, reader: Connection) -> None:
    application.include_schemas = True
    reader.execute(
        "CREATE TABLE theirs (id int PRIMARY KEY, text text); "
        "CREATE TABLE other (id int PRIMARY KEY, embedding text, embedding_hash text); "
        "CREATE INDEX other_embedding_dense ON other (embedding)"
    )
    add_embedding(application.dsn, reader, "theirs", ("text",), MODEL, layout="companion")
    written = application.revise(articles(embedding("title")))
    # The tables themselves are not in the metadata: Alembic's own rule.
    upgrade, _, downgrade = written.partition("def downgrade")
    assert "drop_table('other')" in upgrade
    assert "gte." not in written.replace("op.", "")
    assert "drop_table('theirs_embedding')" not in written
    assert upgrade.index("remove_embedding('theirs'") < upgrade.index("drop_table('theirs')")
    assert "'embedding_hash', sa.TEXT()" in downgrade
    application.upgrade()
    application.downgrade()
    assert is_sound(reader)
    assert [one.declaration.table for one in load_all(reader)] == ["theirs"]
    assert reader.execute("SELECT to_regclass('other_embedding_dense')").fetchone() != (None,)


def test_include_object_is_heard(application: Application, reader: Connection) -> None:
    with application.engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_object": lambda _thing, name, kind, *_: (
                    kind != "table" or name != "articles"
                )
            },
        )
        assert compare_metadata(context, articles(embedding("title"))) == []
