"""Every road by which a row can be written, and the invariant after it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import Layout, OnChange
from gte_pg.install import remove_statements
from tests.postgres import new_database
from tests.roles import make_role
from tests.tables import ARTICLES, add_embedding, broken_rows, drain


@pytest.fixture(params=["columns", "companion"])
def layout(request: pytest.FixtureRequest) -> Layout:
    return cast("Layout", request.param)


@pytest.fixture(params=["clear", "keep"])
def on_change(request: pytest.FixtureRequest) -> OnChange:
    return cast("OnChange", request.param)


@pytest.fixture
def source() -> tuple[str, ...]:
    return ("title", "body")


@pytest.fixture(scope="module")
def encoded(server: str, template: str, model: str) -> Iterator[Callable[..., str]]:
    """Makes databases to be copied, once each: three encoded articles, one pending, one without text."""
    with ExitStack() as kept:

        @functools.cache
        def database(source: tuple[str, ...], layout: Layout, on_change: OnChange) -> str:
            name = kept.enter_context(new_database(server, template))
            dsn = make_conninfo(server, dbname=name)
            with connect(dsn) as connection:
                connection.execute(ARTICLES)
                registered = add_embedding(
                    dsn, connection, "articles", source, model, layout=layout, on_change=on_change
                )
                connection.execute(
                    "INSERT INTO articles VALUES (1, 'one', 'b'), (2, 'two', NULL), (3, 'three', '')"
                )
                drain(connection, registered)
                connection.execute("INSERT INTO articles VALUES (4, 'four', ''), (5, NULL, '')")
            return name

        yield database


@pytest.fixture
def dsn(request: pytest.FixtureRequest, server: str, template: str) -> Iterator[str]:
    if "articles" in request.fixturenames:
        wanted = (request.getfixturevalue(name) for name in ("source", "layout", "on_change"))
        template = request.getfixturevalue("encoded")(*wanted)
    with new_database(server, template) as name:
        yield make_conninfo(server, dbname=name)


@pytest.fixture
def articles(
    connection: Connection, source: tuple[str, ...], layout: Layout, on_change: OnChange
) -> Registered:
    """Three encoded articles, one pending, one without text."""
    return load(connection, "articles")


@pytest.fixture
def changed(on_change: OnChange) -> str:
    """The state of an encoded row whose text has changed."""
    return "kept" if on_change == "keep" else "pending"


def state(connection: Connection, registered: Registered, key: int) -> str:
    row = connection.execute(
        "SELECT embedding IS NOT NULL, embedding_pending IS NOT NULL "
        f"FROM {registered.declaration.vectors.as_string()} WHERE id = %s".encode(),
        (key,),
    ).fetchone()
    assert row is not None
    return {
        (True, False): "encoded",
        (True, True): "kept",
        (False, True): "pending",
        (False, False): "empty",
    }[row]


# One vector of the right width that belongs to no text.
STRANGE = "array_fill(1, ARRAY[64])::vector"

# Every road by which an application writes text, and what becomes of the row that is looked at.
TEXT_ROADS = {
    "insert": ("INSERT INTO articles VALUES (9, 'new')", 9, "pending"),
    "insert of no text": ("INSERT INTO articles VALUES (9, '', NULL)", 9, "empty"),
    "update of the text": ("UPDATE articles SET title = 'x' WHERE id = 1", 1, "pending"),
    "update of all texts": ("UPDATE articles SET body = body || 'x' || id", 1, "pending"),
    "update to the same text": ("UPDATE articles SET title = 'one' WHERE id = 1", 1, "encoded"),
    "update of another column": ("UPDATE articles SET likes = 1 WHERE id = 1", 1, "encoded"),
    "text that moves to the other column": (
        "UPDATE articles SET title = NULL, body = 'two' WHERE id = 2",
        2,
        "any",
    ),
    "update to no text": ("UPDATE articles SET title = '', body = NULL WHERE id = 1", 1, "empty"),
    "update from no text": ("UPDATE articles SET title = 'x' WHERE id = 5", 5, "pending"),
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
    "shift of all keys": ("UPDATE articles SET id = 100 - id", 99, "encoded"),
    "shift of keys onto each other": (
        "ALTER TABLE articles DROP CONSTRAINT articles_pkey, ADD PRIMARY KEY (id) DEFERRABLE; "
        "UPDATE articles SET id = 3 - id WHERE id IN (1, 2)",
        1,
        "any",
    ),
    "key and text at once": ("UPDATE articles SET id = 9, title = 'x' WHERE id = 1", 9, "any"),
    "key and no text": (
        "UPDATE articles SET id = 9, title = '', body = '' WHERE id = 1",
        9,
        "empty",
    ),
    "key of a row without text": ("UPDATE articles SET id = 9 WHERE id = 5", 9, "empty"),
    "delete and insert": (
        "DELETE FROM articles WHERE id = 1; INSERT INTO articles VALUES (1, 'x')",
        1,
        "pending",
    ),
    "delete and insert in one statement": (
        "WITH gone AS (DELETE FROM articles WHERE id = 1 RETURNING *) "
        "INSERT INTO articles SELECT id, 'x' FROM gone",
        1,
        "pending",
    ),
    "truncate and insert": (
        "TRUNCATE articles; INSERT INTO articles VALUES (1, 'x')",
        1,
        "pending",
    ),
}

# With on_change="keep" the vector of the text before stays, marked.
KEPT = {"update of the text", "update of all texts", "upsert", "merge"}

# What an application does to the embedding's own columns; a companion is nobody's to write.
VECTOR_ROADS = {
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
}


def check_road(
    connection: Connection, articles: Registered, road: tuple[str, int, str], *, kept: bool
) -> None:
    statement, key, expected = road
    for part in statement.split("; "):
        connection.execute(part.encode())
    found = state(connection, articles, key)
    assert found == ("kept" if kept else expected) or expected == "any"
    assert broken_rows(connection, articles.declaration) == 0
    drain(connection, articles)
    assert broken_rows(connection, articles.declaration) == 0
    assert state(connection, articles, key) in ("encoded", "empty")


@pytest.mark.parametrize("road", TEXT_ROADS)
def test_the_invariant_holds_on_every_road(
    connection: Connection, articles: Registered, on_change: OnChange, road: str
) -> None:
    kept = on_change == "keep" and road in KEPT
    check_road(connection, articles, TEXT_ROADS[road], kept=kept)


@pytest.mark.parametrize("layout", ["columns"], indirect=True)
@pytest.mark.parametrize("road", VECTOR_ROADS)
def test_nobody_stores_a_vector_that_is_not_the_text_s(
    connection: Connection, articles: Registered, road: str
) -> None:
    check_road(connection, articles, VECTOR_ROADS[road], kept=False)


@pytest.mark.parametrize("layout", ["columns"], indirect=True)
def test_the_mark_of_a_kept_vector_cannot_be_taken_away(
    connection: Connection, articles: Registered, on_change: OnChange
) -> None:
    connection.execute("UPDATE articles SET title = 'x' WHERE id = 1")
    connection.execute("UPDATE articles SET embedding_pending = NULL WHERE id = 1")
    assert state(connection, articles, 1) == ("kept" if on_change == "keep" else "pending")


def test_a_renamed_table_and_its_removal(connection: Connection, articles: Registered) -> None:
    connection.execute("ALTER TABLE articles RENAME TO essays")
    connection.execute(
        "UPDATE essays SET title = 'x' WHERE id = 1; DELETE FROM essays WHERE id = 2"
    )
    connection.execute("UPDATE essays SET id = 9 WHERE id = 3")
    renamed = load(connection, "essays")
    assert broken_rows(connection, renamed.declaration) == 0
    assert drain(connection, renamed).encoded == 2
    for statement in remove_statements(renamed.declaration):
        connection.execute(statement)
    left = connection.execute(
        "SELECT (SELECT count(*) FROM pg_proc WHERE proname LIKE '%capture'), "
        "(SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~gte%'), "
        "(SELECT count(*) FROM pg_class WHERE relname = 'articles_embedding')"
    ).fetchone()
    assert left == (0, 0, 0)
    connection.execute("UPDATE essays SET title = 'y'; DELETE FROM essays")


_CAPTURED = """
SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE schemaname = 'gte'
"""

_LONG_VALUES_READ = """
SELECT idx_scan FROM pg_stat_xact_all_tables
WHERE relid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'articles'::regclass)
"""


@pytest.mark.parametrize("on_change", ["clear"], indirect=True)
def test_an_update_of_another_column_does_no_work_however_long_the_text(
    connection: Connection, articles: Registered
) -> None:
    connection.execute(
        "UPDATE articles SET body = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 33000) n)"
        " WHERE id = 1"
    )
    drain(connection, articles)
    connection.execute("SET track_functions = 'all'")
    # What was counted before would be among what this transaction counts.
    connection.execute("SELECT pg_stat_force_next_flush()")
    with connection.transaction():
        connection.execute("UPDATE articles SET likes = likes + 1 WHERE id IN (1, 2, 4, 5)")
        assert connection.execute(_CAPTURED).fetchone() == (0,)
        if connection.info.server_version >= 170_000:
            assert connection.execute(_LONG_VALUES_READ).fetchone() == (0,), "a megabyte was read"
        connection.execute("UPDATE articles SET title = 'x' WHERE id = 1")
        assert connection.execute(_CAPTURED).fetchone() == (1,)


def test_what_is_written_to_a_partition_directly_is_captured(
    dsn: str, connection: Connection, model: str, layout: Layout, on_change: OnChange
) -> None:
    connection.execute("""
        CREATE TABLE articles (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF articles FOR VALUES FROM (0) TO (100);
        INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 5) AS n;
    """)
    articles = add_embedding(
        dsn, connection, "articles", ("title",), model, layout=layout, on_change=on_change
    )
    drain(connection, articles)
    connection.execute("""
        CREATE TABLE high PARTITION OF articles FOR VALUES FROM (100) TO (200);
        INSERT INTO high VALUES (101, 'new');
        UPDATE low SET title = 'changed' WHERE id = 1;
        UPDATE low SET title = '' WHERE id = 2;
        DELETE FROM low WHERE id = 3;
        UPDATE low SET id = 9 WHERE id = 4;
    """)
    with connection.cursor().copy("COPY high (id, title) FROM STDIN") as copy:
        copy.write_row((102, "from copy"))
    assert broken_rows(connection, articles.declaration) == 0
    kept = "kept" if on_change == "keep" else "pending"
    expected = {101: "pending", 102: "pending", 1: kept, 2: "empty", 9: "encoded", 5: "encoded"}
    assert {key: state(connection, articles, key) for key in expected} == expected
    assert drain(connection, articles).encoded == 3
    assert broken_rows(connection, articles.declaration) == 0


def test_copy_is_captured(connection: Connection, articles: Registered) -> None:
    with connection.cursor().copy("COPY articles (id, title) FROM STDIN") as copy:
        copy.write_row((8, "from copy"))
        copy.write_row((9, None))
    assert (state(connection, articles, 8), state(connection, articles, 9)) == ("pending", "empty")
    assert broken_rows(connection, articles.declaration) == 0


def test_a_trigger_of_the_application_may_still_change_the_text(
    connection: Connection, articles: Registered, changed: str
) -> None:
    connection.execute("""
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.title := upper(NEW.title); RETURN NEW; END';
        CREATE TRIGGER zz_shout BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION shout();
    """)
    connection.execute("UPDATE articles SET likes = 1 WHERE id = 1")
    assert state(connection, articles, 1) == changed
    assert broken_rows(connection, articles.declaration) == 0


def test_a_text_that_only_a_trigger_of_the_application_changes_is_captured(
    dsn: str, connection: Connection, articles: Registered, changed: str
) -> None:
    make_role(connection, "gte_pg_test_likes")
    connection.execute("""
        GRANT SELECT, UPDATE (likes) ON articles TO gte_pg_test_likes;
        CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            NEW.title := CASE WHEN NEW.likes > 5 THEN 'liked ' || NEW.likes WHEN NEW.likes < 0 THEN '' END;
            NEW.body := NULL;
            RETURN NEW;
        END $$;
        CREATE TRIGGER tell BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION tell();
    """)
    with connect(dsn) as application:
        application.execute("SET ROLE gte_pg_test_likes")
        application.execute("UPDATE articles SET likes = 9 WHERE id IN (1, 5)")
        application.execute("UPDATE articles SET likes = -1 WHERE id = 2")
    assert [state(connection, articles, key) for key in (1, 5, 2)] == [changed, "pending", "empty"]
    assert broken_rows(connection, articles.declaration) == 0
    assert drain(connection, articles).encoded == 3
    with connection.transaction():
        connection.execute("UPDATE articles SET likes = 7 WHERE id = 1")
        connection.execute("UPDATE articles SET likes = 9 WHERE id = 1")
    assert broken_rows(connection, articles.declaration) == 0


def test_triggers_fire_for_replicated_rows_too(
    connection: Connection, articles: Registered, changed: str
) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE articles SET title = 'x' WHERE id = 1")
    assert state(connection, articles, 1) == changed


def test_a_role_needs_no_right_but_on_the_table(
    dsn: str, connection: Connection, articles: Registered, changed: str
) -> None:
    make_role(connection, "gte_pg_test_application")
    connection.execute("""
        REVOKE ALL ON SCHEMA gte FROM PUBLIC;
        GRANT SELECT, INSERT, UPDATE, DELETE ON articles TO gte_pg_test_application;
    """)
    with connect(dsn) as application:
        application.execute("SET ROLE gte_pg_test_application")
        application.execute("INSERT INTO articles VALUES (9, 'new')")
        application.execute("UPDATE articles SET title = 'x' WHERE id = 1")
        application.execute("UPDATE articles SET title = NULL, body = NULL WHERE id = 2")
    assert [state(connection, articles, key) for key in (9, 1, 2)] == [
        "pending",
        changed,
        "empty",
    ]


def test_a_renamed_source_column_is_followed(
    connection: Connection, articles: Registered, changed: str
) -> None:
    connection.execute("ALTER TABLE articles RENAME COLUMN title TO headline")
    connection.execute("UPDATE articles SET headline = 'x' WHERE id = 1")
    connection.execute("INSERT INTO articles (id, headline) VALUES (9, 'new')")
    assert (state(connection, articles, 1), state(connection, articles, 9)) == (
        changed,
        "pending",
    )


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


@pytest.mark.parametrize("layout", ["columns"], indirect=True)
@pytest.mark.parametrize("source", [("title", "body"), ("title",)], ids=str)
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
