"""The application's tables: their names, and those that are not its own."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from gte_pg.database import Connection, connect, load, load_all
from gte_pg.declaration import Declaration, Layout
from gte_pg.errors import DatabaseError, DeclarationError
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


def test_a_table_that_the_metadata_made_itself(application: Application) -> None:
    metadata = articles(embedding("title"), embedding("body", name="bodies", layout="companion"))
    metadata.create_all(application.engine)
    assert application.differences(metadata) == []


def test_pgvector_in_a_schema_of_its_own(application: Application, reader: Connection) -> None:
    reader.execute(
        "CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions; "
        "CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)"
    )
    fill(reader)
    application.revise(articles(embedding("title")))
    application.edit(
        upgrade="op.create_search_indexes('articles')",
        downgrade="op.drop_search_indexes('articles')",
    )
    for _ in range(2):
        application.upgrade("+1")
    with connect(application.dsn) as finding_vectors:
        encode(finding_vectors)
        assert is_sound(finding_vectors)
    application.downgrade("base")
    assert load_all(reader) == []


def facts(declaration: Declaration, **changed: object) -> str:
    given = {
        "key": ["id"],
        "source": ["title"],
        "model": MODEL,
        "generation": declaration.generation,
        "dimensions": declaration.dimensions,
        "sparse_dimensions": declaration.sparse_dimensions,
    }
    return ", ".join(f"{name}={value!r}" for name, value in (given | changed).items())


def test_vectors_of_another_model_are_not_taken_for_those_that_are_declared(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title")))
    declaration = load(reader, "articles").declaration
    other = facts(declaration, generation="other@1/float32/64")
    application.edit(upgrade=f"op.alter_embedding('articles', {other})", downgrade="pass")
    with pytest.raises(DeclarationError, match="of a time when it was other@1"):
        application.upgrade()
    assert load(reader, "articles").declaration == declaration


def test_an_embedding_that_is_there_is_not_added_again(
    application: Application, reader: Connection
) -> None:
    reader.execute("CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)")
    declaration = add_embedding(application.dsn, reader, "articles", ("title",), MODEL).declaration
    application.edit(
        upgrade=f"op.add_embedding('articles', {facts(declaration)})", downgrade="pass"
    )
    with pytest.raises(DeclarationError, match="alembic stamp"):
        application.upgrade()


@pytest.mark.parametrize(
    ("layout", "taken", "said"),
    [
        ("companion", "CREATE TABLE articles_embedding (id int)", "companion of public.articles"),
        ("columns", "ALTER TABLE articles ADD embedding_hash text", "column 'embedding_hash'"),
    ],
)
def test_a_name_that_another_has_is_said(
    application: Application, reader: Connection, layout: Layout, taken: str, said: str
) -> None:
    migrate(application, articles())
    application.revise(articles(embedding("title", layout=layout)))
    reader.execute(taken.encode())
    with pytest.raises(DatabaseError, match=said):
        application.upgrade()


def test_an_environment_that_runs_on_an_asynchronous_connection(application: Application) -> None:
    """As Alembic's own template does it: `connection.run_sync`."""
    metadata = articles(embedding("title"), embedding("body", name="bodies", layout="companion"))
    application.revise(metadata)
    application.edit(
        upgrade="op.create_search_indexes('articles', concurrently=True)",
        downgrade="op.drop_search_indexes('articles')",
    )
    application.is_async = True
    application.upgrade()
    assert application.differences(metadata) == []
    application.downgrade("base")
    application.is_async = False
    assert application.differences(sa.MetaData()) == []
