"""A table whose primary key is gone or another one holds up no other table, and says what to do."""

from __future__ import annotations

import threading

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, load, load_all
from gte_pg.declaration import Layout
from gte_pg.errors import DatabaseError
from gte_pg.sync import Team, status, watch
from tests.tables import ARTICLES, add_embedding, drain

_DROP_KEY = "ALTER TABLE articles DROP CONSTRAINT articles_pkey"


@pytest.fixture(autouse=True)
def tables(dsn: str, connection: Connection, model: str, layout: Layout) -> None:
    connection.execute(ARTICLES)
    connection.execute("CREATE TABLE later (id int PRIMARY KEY, body text)")
    connection.execute("INSERT INTO articles VALUES (1, 'a cat')")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, registered)
    add_embedding(dsn, connection, "later", ("body",), model)
    connection.execute("INSERT INTO later VALUES (1, 'a dog')")


def gte_pg(dsn: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    return done.exit_code, done.output


def later_is_pending(connection: Connection) -> bool:
    return status(connection, load(connection, "later")).pending > 0


@pytest.mark.parametrize(
    ("layout", "change", "wrong"),
    [
        ("columns", _DROP_KEY, "articles has no primary key any more"),
        ("companion", _DROP_KEY, "articles has no primary key any more"),
        (
            "companion",
            "ALTER TABLE articles RENAME id TO number",
            "articles is (number) now, and the companion of the embedding 'embedding' knows",
        ),
        (
            "companion",
            f"{_DROP_KEY}; ALTER TABLE articles ADD other uuid PRIMARY KEY DEFAULT gen_random_uuid()",
            "articles is (other) now, and the companion of the embedding 'embedding' knows",
        ),
    ],
    indirect=["layout"],
)
def test_other_tables_go_on_and_what_to_do_is_said(
    dsn: str, connection: Connection, change: str, wrong: str
) -> None:
    connection.execute(change.encode())
    for command in (["sync"], ["status"], ["sync", "--check"]):
        code, told = gte_pg(dsn, *command)
        assert code == 1
        assert wrong in told
        assert "gte-pg remove public.articles --name embedding" in told
        assert "later" in told
    assert not later_is_pending(connection)
    assert gte_pg(dsn, "init") == (0, "the schema gte is up to date\n")
    code, told = gte_pg(dsn, "alter", "articles", "--source", "body")
    assert (code, wrong in told) == (1, True)
    code, told = gte_pg(dsn, "remove", "articles")
    assert code == 0, told
    connection.execute("UPDATE articles SET title = 'no trigger is left'")
    assert gte_pg(dsn, "sync")[0] == 0


def test_a_watcher_of_all_goes_on_and_knows_the_table_when_its_key_is_back(
    dsn: str, connection: Connection
) -> None:
    connection.execute(_DROP_KEY)
    connection.execute("INSERT INTO articles VALUES (2, 'a bird')")
    stop = threading.Event()
    problems: list[DatabaseError] = []
    for registered, progress in watch(
        Team(dsn, stop), lambda own: load_all(own, problems=problems)
    ):
        if progress.stage != "done" or not progress.encoded:
            continue
        if registered.declaration.table == "articles":
            stop.set()
        else:
            assert "no primary key" in str(problems[0])
            connection.execute("ALTER TABLE articles ADD PRIMARY KEY (id)")
    assert status(connection, load(connection, "articles")).encoded == 2
