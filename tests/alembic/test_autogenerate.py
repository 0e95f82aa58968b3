"""What autogenerate proposes runs both ways on a table with data, and leaves nothing to propose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, connect, load, load_all
from gte_pg.declaration import Layout
from gte_pg.install import prepare_database
from gte_pg.orm import Embedding
from gte_pg.sync import count_broken, missing_triggers
from tests.alembic.application import Application
from tests.conftest import DATA
from tests.tables import add_embedding, drain

MODEL = str(DATA / "golden" / "new_ntk")
OTHER = str(DATA / "golden" / "bert_mean")


def articles(*embeddings: Embedding, text: Any = sa.Text, **options: Any) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("title", text),
        sa.Column("body", sa.Text),
        *embeddings,
        **options,
    )
    return metadata


def embedding(*source: str, name: str = "embedding", **options: Any) -> Embedding:
    return Embedding(*source, name=name, **{"model": MODEL, **options})


@pytest.fixture
def application(empty_dsn: str, tmp_path: Path) -> Iterator[Application]:
    made = Application(empty_dsn, tmp_path / "migrations")
    yield made
    made.engine.dispose()


@pytest.fixture
def reader(application: Application) -> Iterator[Connection]:
    with connect(application.dsn) as connection:
        yield connection


def migrate(application: Application, metadata: sa.MetaData) -> str:
    """Autogenerate and upgrade; the proposal. A second one would be empty."""
    written = application.revise(metadata)
    application.upgrade()
    assert application.differences(metadata) == []
    return written


def is_sound(connection: Connection) -> bool:
    return all(
        missing_triggers(connection, one) == [] and count_broken(connection, one) == 0
        for one in load_all(connection)
    )


def fill(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO articles (id, title, body) VALUES (1, 'a cat', 'on a mat'), (2, 'a dog', ''), "
        "(3, NULL, 'no title'), (4, NULL, NULL)"
    )


def encode(connection: Connection) -> None:
    for registered in load_all(connection):
        drain(connection, registered)


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


def test_a_switch_to_what_is_declared_leaves_nothing_to_do(
    application: Application, reader: Connection
) -> None:
    migrate(application, articles(embedding("title")))
    fill(reader)
    encode(reader)
    switch = ["switch", "articles", "--model", OTHER, "--dsn", application.dsn]
    done = CliRunner().invoke(main, [*switch, "--least-recall", "0"])
    assert done.exit_code == 0, done.output
    # The former embedding waits on standby for a way back.
    assert len(load_all(reader)) == 2
    assert application.differences(articles(embedding("title", model=OTHER))) == []


# From one declaration to another: what is said, and how many of three rows keep their vectors.
CHANGES: dict[str, tuple[list[Embedding], list[Embedding], str, int]] = {
    "added": ([], [embedding("title", "body")], "add_embedding", 0),
    "removed": ([embedding("title")], [], "remove_embedding", 0),
    "model": ([embedding("title", "body")], [embedding("title", "body", model=OTHER)], "switch", 0),
    "precision": (
        [embedding("title", "body")],
        [embedding("title", "body", precision="int8")],
        "switch",
        0,
    ),
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


def version(connection: Connection) -> str:
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_the_printed_statements_do_the_same(
    application: Application, reader: Connection, layout: Layout
) -> None:
    first = articles(embedding("title", "body", layout=layout))
    application.revise(first)
    with pytest.raises(psycopg.errors.RaiseException, match="gte-pg init"):
        application.run_printed("head")
    with application.engine.begin() as transaction:
        prepare_database(transaction)
    application.run_printed("head")
    assert application.differences(first) == []
    fill(reader)
    encode(reader)
    assert is_sound(reader)
    second = articles(embedding(template="{title} & {body}", layout=layout, on_change="keep"))
    application.revise(second)
    application.run_printed(f"{version(reader)}:head")
    assert application.differences(second) == []
    assert is_sound(reader)
    application.run_printed(f"{version(reader)}:base")
    assert load_all(reader) == []


@pytest.mark.parametrize("concurrently", [False, True])
def test_search_indexes_are_made_by_a_migration_that_asks_for_them(
    application: Application, reader: Connection, concurrently: bool
) -> None:
    reader.execute("CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)")
    fill(reader)
    metadata = articles(embedding("title"))
    migrate(application, metadata)
    application.edit(
        upgrade=f"op.create_search_indexes('articles', concurrently={concurrently})",
        downgrade="op.drop_search_indexes('articles')",
    )
    names = (
        "SELECT count(*) FROM pg_index WHERE indrelid = 'articles'::regclass AND indisvalid "
        "AND indexrelid::regclass::text LIKE 'articles_embedding_%'"
    )
    assert reader.execute(names).fetchone() == (1,)
    application.upgrade()
    assert reader.execute(names).fetchone() == (3,)
    assert application.differences(metadata) == []
    application.downgrade()
    assert reader.execute(names).fetchone() == (1,)
