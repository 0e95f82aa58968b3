"""A switch of models and the migrations: on databases where it has been made, and on new ones."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, load, load_all
from gte_pg.declaration import Layout
from gte_pg.errors import DeclarationError
from gte_pg.install import alter_statements, remove_statements
from gte_pg.sync import missing_search_indexes
from tests.alembic.application import (
    OTHER,
    Application,
    articles,
    embedding,
    encode,
    fill,
    is_sound,
    migrate,
    version,
)

LAYOUTS: list[Layout] = ["columns", "companion"]
SOURCE = ("title", "body")


def gte_pg(application: Application, *arguments: str) -> str:
    done = CliRunner().invoke(main, [*arguments, "--dsn", application.dsn])
    assert done.exit_code == 0, done.output
    return done.output


def switch(application: Application, *how: str) -> None:
    gte_pg(application, "switch", "articles", *how, "--least-recall", "0")


def add_and_fill(application: Application, reader: Connection, layout: Layout) -> None:
    migrate(application, articles(embedding("title", layout=layout)))
    fill(reader)
    encode(reader)


def remains(connection: Connection) -> list[tuple[object, ...]]:
    """Return what is left of the table and its embeddings."""
    return connection.execute(
        "SELECT relname FROM pg_class WHERE relname ~ '^articles' "
        "UNION ALL SELECT proname FROM pg_proc WHERE proname ~ 'articles' "
        "UNION ALL SELECT name FROM gte.embedding"
    ).fetchall()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_has_been_switched_stays_as_it_is(
    application: Application, reader: Connection, layout: Layout
) -> None:
    add_and_fill(application, reader, layout)
    declared = articles(embedding("title", layout=layout, model=OTHER))
    written = application.revise(declared)
    assert "op.switch_embedding(" in written
    assert "_embedding(" not in written.replace("switch_embedding(", "")
    with pytest.raises(DeclarationError, match="gte-pg switch public.articles --name embedding"):
        application.upgrade()
    switch(application, "--model", OTHER)
    switched = load_all(reader)
    application.upgrade()
    assert load_all(reader) == switched
    assert application.differences(declared) == []
    with pytest.raises(DeclarationError, match="--back"):
        application.downgrade()
    switch(application, "--back")
    application.downgrade()
    assert application.differences(articles(embedding("title", layout=layout))) == []
    assert is_sound(reader)


def test_what_a_migration_changes_beside_the_model_is_altered(
    application: Application, reader: Connection
) -> None:
    add_and_fill(application, reader, "columns")
    declared = articles(embedding("title", model=OTHER, index_dimensions=32))
    application.revise(declared)
    switch(application, "--model", OTHER)
    application.upgrade()
    assert application.differences(declared) == []
    switch(application, "--back")
    application.downgrade()
    assert application.differences(articles(embedding("title"))) == []
    encode(reader)
    assert is_sound(reader)


@pytest.mark.parametrize("how", ["connected", "printed"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_table_without_rows_is_switched_by_the_migration(
    application: Application, reader: Connection, layout: Layout, how: str
) -> None:
    migrate(application, articles(embedding("title", layout=layout)))
    latter = articles(embedding("title", layout=layout, model=OTHER))
    application.revise(latter)
    if how == "connected":
        application.upgrade()
        assert missing_search_indexes(reader, load(reader, "articles").declaration) == []
    else:
        application.run_printed(f"{version(reader)}:head")
    assert application.differences(latter) == []
    fill(reader)
    encode(reader)
    assert is_sound(reader)


@pytest.mark.parametrize("how", ["connected", "printed"])
def test_rows_that_came_before_do_not_keep_a_new_database_from_it(
    application: Application, reader: Connection, how: str
) -> None:
    """A migration of data, say: none of them is found yet."""
    migrate(application, articles(embedding("title")))
    fill(reader)
    before = version(reader)
    application.revise(articles(embedding("title", model=OTHER)))
    if how == "connected":
        application.upgrade()
    else:
        application.run_printed(f"{before}:head")
    encode(reader)
    assert is_sound(reader)
    assert load(reader, "articles").declaration.model == OTHER


def test_what_is_printed_refuses_rows_of_the_former_model(
    application: Application, reader: Connection
) -> None:
    add_and_fill(application, reader, "columns")
    before = version(reader)
    application.revise(articles(embedding("title", model=OTHER)))
    with pytest.raises(subprocess.CalledProcessError) as raised:
        application.run_printed(f"{before}:head")
    assert "gte-pg switch public.articles --name embedding" in raised.value.stderr
    switch(application, "--model", OTHER)
    switched = load_all(reader)
    application.run_printed(f"{before}:head")
    assert load_all(reader) == switched


@pytest.mark.parametrize("layout", LAYOUTS)
def test_later_migrations_take_the_former_embedding_along(
    application: Application, reader: Connection, layout: Layout
) -> None:
    """They do not speak of it: a new database has none."""

    def declared(*source: str, text: Any = sa.Text) -> sa.MetaData:
        return articles(embedding(*source, layout=layout, model=OTHER), text=text)

    migrate(application, articles(embedding("title", layout=layout), text=sa.String(40)))
    fill(reader)
    encode(reader)
    application.revise(declared("title", text=sa.String(40)))
    switch(application, "--model", OTHER)
    application.upgrade()
    for later, source in (declared("title"), ("title",)), (declared("title", "body"), SOURCE):
        assert "embedding_previous" not in migrate(application, later)
        encode(reader)
        assert is_sound(reader)
        assert [one.declaration.source for one in load_all(reader)] == [source, source]
    assert "embedding_previous" not in migrate(application, sa.MetaData())
    assert remains(reader) == []


@pytest.mark.parametrize(
    "later",
    [articles(), articles(embedding("title", "body", model=OTHER))],
    ids=["remove", "alter"],
)
def test_printed_statements_leave_no_former_embedding_behind(
    application: Application, reader: Connection, later: sa.MetaData
) -> None:
    add_and_fill(application, reader, "columns")
    declared = articles(embedding("title", model=OTHER))
    application.revise(declared)
    switch(application, "--model", OTHER)
    application.upgrade()
    before = version(reader)
    application.revise(later)
    with pytest.raises(subprocess.CalledProcessError) as raised:
        application.run_printed(f"{before}:head")
    assert "embedding_previous beside the embedding" in raised.value.stderr
    gte_pg(application, "remove", "articles", "--name", "embedding_previous")
    application.run_printed(f"{before}:head")
    assert application.differences(later) == []


def test_a_former_embedding_that_is_left_alone_is_seen(
    application: Application, reader: Connection
) -> None:
    add_and_fill(application, reader, "companion")
    switch(application, "--model", OTHER)
    leaving = load(reader, "articles").declaration
    for statement in remove_statements(leaving):
        reader.execute(statement)
    assert "'embedding_previous'" in migrate(application, articles())
    assert load_all(reader) == []


def test_a_former_embedding_that_is_declared_is_there(
    application: Application, reader: Connection
) -> None:
    add_and_fill(application, reader, "columns")
    switch(application, "--model", OTHER)
    both = embedding("title", model=OTHER), embedding("title", name="embedding_previous")
    assert application.differences(articles(*both)) == []


def test_there_is_no_way_back_to_another_text(application: Application, reader: Connection) -> None:
    add_and_fill(application, reader, "columns")
    switch(application, "--model", OTHER)
    former = load(reader, "articles", "embedding_previous").declaration
    postgres = reader.info.server_version // 10_000
    for statement in alter_statements(replace(former, source=("body",)), postgres=postgres):
        reader.execute(statement)
    back = ["switch", "articles", "--back", "--dsn", application.dsn]
    done = CliRunner().invoke(main, back)
    assert "would change source too. Make it like that: gte-pg alter articles" in done.output
    gte_pg(application, "alter", "articles", "--name", "embedding_previous", "--source", "title")
    gte_pg(application, *back[:-2])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_metadata_drops_a_table_with_what_a_switch_left(
    application: Application, reader: Connection, layout: Layout
) -> None:
    add_and_fill(application, reader, layout)
    switch(application, "--model", OTHER)
    articles(embedding("title", layout=layout, model=OTHER)).drop_all(application.engine)
    assert remains(reader) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gte_pg_remove_takes_it_along(
    application: Application, reader: Connection, layout: Layout
) -> None:
    add_and_fill(application, reader, layout)
    switch(application, "--model", OTHER)
    said = gte_pg(application, "remove", "articles")
    assert "no longer has the embedding embedding and embedding_previous" in said
    reader.execute("DROP TABLE articles")
    assert remains(reader) == []
