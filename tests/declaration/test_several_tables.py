"""Tables whose names read the same, now or one after the other: each has a capture of its own."""

from __future__ import annotations

import pytest

from gte_pg.database import Connection, Registered, load
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.install import remove_statements
from gte_pg.sync import count_broken, missing_triggers, repair, status
from gte_pg.sync.worker import Worker
from tests.tables import ARTICLES, add_embedding


def check_both(
    connection: Connection, encoder: Encoder, pair: tuple[Registered, Registered]
) -> None:
    for registered in pair:
        table = registered.declaration.relation.as_string()
        source = registered.declaration.source[0]
        list(Worker(connection, registered, encoder).rounds())
        for statement in (
            "INSERT INTO {table} (id, {source}) VALUES (2, 'two'), (3, 'three')",
            "UPDATE {table} SET {source} = 'other' WHERE id = 1",
            "DELETE FROM {table} WHERE id = 3",
        ):
            connection.execute(statement.format(table=table, source=source).encode())
        assert status(connection, registered).pending == 2
        list(Worker(connection, registered, encoder).rounds())
        assert status(connection, registered).encoded == 2
        assert missing_triggers(connection, registered) == []
        assert count_broken(connection, registered) == 0
    for registered in pair:
        for removal in remove_statements(registered.declaration):
            connection.execute(removal)
    functions = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'gte'::regnamespace"
    left = f"{functions} AND prorettype = 'trigger'::regtype"
    assert connection.execute(left.encode()).fetchone() == (0,)


@pytest.mark.parametrize("second", ["columns", "companion"])
@pytest.mark.parametrize("first", ["columns", "companion"])
def test_a_table_that_was_renamed_and_its_successor(
    dsn: str, connection: Connection, model: str, encoder: Encoder, first: Layout, second: Layout
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one')")
    add_embedding(dsn, connection, "articles", ("title", "body"), model, layout=first)
    connection.execute("ALTER TABLE articles RENAME TO articles_2025")
    if first == second == "companion":
        connection.execute("ALTER TABLE articles_embedding RENAME TO articles_2025_embedding")
        connection.execute(
            "ALTER INDEX articles_embedding_pkey RENAME TO articles_2025_embedding_pkey"
        )
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'one')")
    new = add_embedding(dsn, connection, "articles", ("body", "title"), model, layout=second)
    former = load(connection, "articles_2025")
    if first == second == "companion":
        repair(connection, former)
    check_both(connection, encoder, (former, new))


def test_tables_in_schemas_that_read_the_same(
    dsn: str, connection: Connection, model: str, encoder: Encoder, layout: Layout
) -> None:
    connection.execute(
        "CREATE SCHEMA app; CREATE TABLE app.user_posts (id int PRIMARY KEY, title text); "
        "CREATE SCHEMA app_user; CREATE TABLE app_user.posts (id int PRIMARY KEY, body text)"
    )
    one = add_embedding(dsn, connection, "app.user_posts", ("title",), model, layout=layout)
    other = add_embedding(dsn, connection, "app_user.posts", ("body",), model, layout=layout)
    connection.execute("INSERT INTO app.user_posts VALUES (1, 'one')")
    connection.execute("INSERT INTO app_user.posts VALUES (1, 'one')")
    check_both(connection, encoder, (one, other))
