"""Every road by which a row can be written, and the invariant after it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gte_pg.database import Connection, Registered, connect
from tests.tables import ARTICLES, add_embedding, broken_rows, drain


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    """Three encoded articles, one pending, one without text."""
    connection.execute(ARTICLES)
    registered = add_embedding(dsn, connection, "articles", ("title", "body"), model)
    connection.execute(
        "INSERT INTO articles VALUES (1, 'one', 'b'), (2, 'two', NULL), (3, 'three', '')"
    )
    drain(connection, registered)
    connection.execute("INSERT INTO articles VALUES (4, 'four', ''), (5, NULL, '')")
    return registered


def state(connection: Connection, key: int) -> str:
    row = connection.execute(
        "SELECT embedding IS NOT NULL, embedding_pending IS NOT NULL FROM articles WHERE id = %s",
        (key,),
    ).fetchone()
    assert row is not None
    return {(True, False): "encoded", (False, True): "pending", (False, False): "empty"}[row]


# One vector of the right width that belongs to no text.
STRANGE = "array_fill(1, ARRAY[64])::vector"

ROADS = {
    "insert": ("INSERT INTO articles VALUES (9, 'new')", 9, "pending"),
    "insert of no text": ("INSERT INTO articles VALUES (9, '', NULL)", 9, "empty"),
    "insert that says it is done": (
        "INSERT INTO articles (id, title, embedding_pending) VALUES (9, 'new', NULL)",
        9,
        "pending",
    ),
    "insert with a strange vector": (
        f"INSERT INTO articles (id, title, embedding, embedding_hash) VALUES (9, 'n', {STRANGE}, 'x')",
        9,
        "pending",
    ),
    "copy of a row with its vector": (
        "INSERT INTO articles SELECT 9, title, body, likes, embedding, embedding_sparse, "
        "embedding_hash, embedding_pending FROM articles WHERE id = 1",
        9,
        "encoded",
    ),
    "copy of a row with other text": (
        "INSERT INTO articles SELECT 9, 'other', body, likes, embedding, embedding_sparse, "
        "embedding_hash, embedding_pending FROM articles WHERE id = 1",
        9,
        "pending",
    ),
    "update of the text": ("UPDATE articles SET title = 'x' WHERE id = 1", 1, "pending"),
    "update of all texts": ("UPDATE articles SET body = body || 'x' || id", 1, "pending"),
    "update to the same text": ("UPDATE articles SET title = 'one' WHERE id = 1", 1, "encoded"),
    "update of another column": ("UPDATE articles SET likes = 1 WHERE id = 1", 1, "encoded"),
    "text that moves to the other column": (
        "UPDATE articles SET title = NULL, body = 'two' WHERE id = 2",
        2,
        "encoded",
    ),
    "update to no text": ("UPDATE articles SET title = '', body = NULL WHERE id = 1", 1, "empty"),
    "update from no text": ("UPDATE articles SET title = 'x' WHERE id = 5", 5, "pending"),
    "vector taken away": ("UPDATE articles SET embedding = NULL WHERE id = 1", 1, "pending"),
    "token weights taken away": (
        "UPDATE articles SET embedding_sparse = NULL WHERE id = 1",
        1,
        "pending",
    ),
    "everything taken away": (
        "UPDATE articles SET embedding = NULL, embedding_sparse = NULL, embedding_hash = NULL "
        "WHERE id = 1",
        1,
        "pending",
    ),
    "pending taken away": (
        "UPDATE articles SET embedding_pending = NULL WHERE id = 4",
        4,
        "pending",
    ),
    "strange vector, no hash": (
        f"UPDATE articles SET embedding = {STRANGE} WHERE id = 4",
        4,
        "pending",
    ),
    "vector and hash of another row": (
        "UPDATE articles a SET embedding = b.embedding, embedding_sparse = b.embedding_sparse, "
        "embedding_hash = b.embedding_hash, embedding_pending = NULL "
        "FROM articles b WHERE a.id = 4 AND b.id = 1",
        4,
        "pending",
    ),
    "text and vector of another row": (
        "UPDATE articles a SET title = b.title, body = b.body, embedding = b.embedding, "
        "embedding_sparse = b.embedding_sparse, embedding_hash = b.embedding_hash, "
        "embedding_pending = NULL FROM articles b WHERE a.id = 4 AND b.id = 1",
        4,
        "encoded",
    ),
    "upsert": (
        "INSERT INTO articles VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET title = excluded.title",
        1,
        "pending",
    ),
    "merge": (
        "MERGE INTO articles a USING (VALUES (1, 'x')) v (id, title) ON a.id = v.id "
        "WHEN MATCHED THEN UPDATE SET title = v.title",
        1,
        "pending",
    ),
    "change of the key": ("UPDATE articles SET id = 9 WHERE id = 1", 9, "encoded"),
}


@pytest.mark.parametrize("road", ROADS)
def test_the_invariant_holds_on_every_road(
    connection: Connection, articles: Registered, road: str
) -> None:
    statement, key, expected = ROADS[road]
    connection.execute(statement.encode())
    assert state(connection, key) == expected
    assert broken_rows(connection, articles.declaration) == 0


def test_copy_is_captured(connection: Connection, articles: Registered) -> None:
    with connection.cursor().copy("COPY articles (id, title) FROM STDIN") as copy:
        copy.write_row((8, "from copy"))
        copy.write_row((9, None))
    assert (state(connection, 8), state(connection, 9)) == ("pending", "empty")
    assert broken_rows(connection, articles.declaration) == 0


def test_a_trigger_of_the_application_may_still_change_the_text(
    connection: Connection, articles: Registered
) -> None:
    connection.execute("""
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.title := upper(NEW.title); RETURN NEW; END';
        CREATE TRIGGER zz_shout BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION shout();
    """)
    connection.execute("UPDATE articles SET likes = 1 WHERE id = 1")
    assert state(connection, 1) == "pending"
    assert broken_rows(connection, articles.declaration) == 0


def test_triggers_fire_for_replicated_rows_too(
    connection: Connection, articles: Registered
) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE articles SET title = 'x' WHERE id = 1")
    assert state(connection, 1) == "pending"


def test_a_role_needs_no_right_but_on_the_table(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("""
        DO $$ BEGIN
            CREATE ROLE gte_pg_test_application LOGIN;
        EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        REVOKE ALL ON SCHEMA gte FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON articles TO gte_pg_test_application;
    """)
    with connect(dsn) as application:
        application.execute("SET ROLE gte_pg_test_application")
        application.execute("INSERT INTO articles VALUES (9, 'new')")
        application.execute("UPDATE articles SET title = 'x' WHERE id = 1")
        application.execute("UPDATE articles SET title = NULL, body = NULL WHERE id = 2")
    assert [state(connection, key) for key in (9, 1, 2)] == ["pending", "pending", "empty"]


def test_a_renamed_source_column_is_followed(connection: Connection, articles: Registered) -> None:
    connection.execute("ALTER TABLE articles RENAME COLUMN title TO headline")
    connection.execute("UPDATE articles SET headline = 'x' WHERE id = 1")
    connection.execute("INSERT INTO articles (id, headline) VALUES (9, 'new')")
    assert (state(connection, 1), state(connection, 9)) == ("pending", "pending")


values = st.sampled_from([None, "", "a", "b", "a\nb"])
columns = st.sampled_from(
    ["title", "body", "embedding", "embedding_sparse", "embedding_hash", "embedding_pending"]
)
changes = st.one_of(
    st.tuples(st.just("text"), st.integers(1, 5), values, values),
    st.tuples(st.just("null"), st.integers(1, 5), columns),
    st.tuples(st.just("steal"), st.integers(1, 5), columns, st.integers(1, 5)),
    st.tuples(st.just("sync")),
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(changes, max_size=8))
def test_no_sequence_of_statements_breaks_the_invariant(
    connection: Connection, articles: Registered, steps: list[tuple[object, ...]]
) -> None:
    for step in steps:
        match step:
            case ("text", key, title, body):
                connection.execute(
                    "UPDATE articles SET title = %s, body = %s WHERE id = %s", (title, body, key)
                )
            case ("null", key, column):
                connection.execute(
                    f"UPDATE articles SET {column} = NULL WHERE id = %s".encode(), (key,)
                )
            case ("steal", key, column, other):
                connection.execute(
                    f"UPDATE articles a SET {column} = b.{column} FROM articles b "
                    "WHERE a.id = %s AND b.id = %s".encode(),
                    (key, other),
                )
            case _:
                drain(connection, articles)
        assert broken_rows(connection, articles.declaration) == 0
