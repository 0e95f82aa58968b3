from __future__ import annotations

import threading

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from gte_pg.database import Connection, connect, engine, ensure_schema, find_table, load, load_all
from gte_pg.database.extension import ensure_pgvector
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError
from gte_pg.install import prepare_database
from gte_pg.search import encode_query, search
from tests.roles import make_role
from tests.tables import ARTICLES, add_embedding, broken_rows, drain


def test_the_schema_is_made_once_and_made_again_without_harm(empty_dsn: str) -> None:
    def make() -> None:
        with engine(empty_dsn).begin() as connection:
            ensure_schema(connection)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with connect(empty_dsn) as connection:
        assert connection.execute("SELECT version_num FROM gte.schema_version").fetchall() == [
            ("0007",)
        ]
        assert connection.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_pgvector_may_live_in_any_schema(empty_dsn: str, model: str, encoder: Encoder) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "My Extensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "My Extensions"')
        connection.execute(ARTICLES)
        connection.execute("INSERT INTO articles VALUES (1, 'cat'), (2, 'database')")
    with connect(empty_dsn) as connection:
        registered = add_embedding(empty_dsn, connection, "articles", ("title",), model)
        drain(connection, registered)
        query = encode_query(encoder, registered.declaration, "cat")
        assert search(connection, registered, query)[0].key == {"id": 1}
    with psycopg.connect(empty_dsn, autocommit=True) as application:
        application.execute("UPDATE articles SET title = 'dog' WHERE id = 2")
        row = application.execute(
            "SELECT key FROM gte.search('articles', %s, %s)", (query.dense, query.sparse)
        ).fetchone()
        assert row == ({"id": 1},)


def test_no_tenant_takes_pgvector_along(empty_dsn: str, model: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        for tenant in ("one", "other"):
            connection.execute(f"CREATE SCHEMA {tenant}".encode())
            own_dsn = make_conninfo(empty_dsn, options=f"-c search_path={tenant}")
            with connect(own_dsn) as own:
                own.execute(ARTICLES)
                registered = add_embedding(own_dsn, own, "articles", ("title",), model)
        connection.execute("DROP SCHEMA one CASCADE")
        connection.execute("INSERT INTO other.articles VALUES (1, 'cat')")
    with connect(own_dsn) as own:
        assert drain(own, registered).encoded == 1


def test_without_a_public_schema_pgvector_goes_where_new_objects_go(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public; CREATE SCHEMA app")
    with engine(make_conninfo(empty_dsn, options="-c search_path=app")).begin() as transaction:
        ensure_schema(transaction)
        assert ensure_pgvector(transaction).schema == "app"


def test_pgvector_that_was_dropped_with_its_schema_comes_back(empty_dsn: str, model: str) -> None:
    for _ in range(2):
        with connect(empty_dsn) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            connection.execute(ARTICLES)
            connection.execute("INSERT INTO articles VALUES (1, 'cat')")
        with engine(empty_dsn).begin() as transaction:
            prepare_database(transaction)
        with connect(empty_dsn) as connection:
            registered = add_embedding(empty_dsn, connection, "articles", ("title",), model)
            assert drain(connection, registered).encoded == 1


def test_pgvector_that_was_moved_is_found_by_searches_again(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'cat')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, articles)
    connection.execute("CREATE SCHEMA elsewhere; ALTER EXTENSION vector SET SCHEMA elsewhere")
    with engine(dsn).begin() as transaction:
        prepare_database(transaction)
    query = encode_query(encoder, articles.declaration, "cat")
    found = "SELECT key FROM gte.search('articles', %s, %s)"
    assert connection.execute(found, (query.dense, query.sparse)).fetchone() == ({"id": 1},)


def test_who_finds_the_schema_as_it_should_be_changes_nothing_and_waits_for_nobody(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    add_embedding(dsn, connection, "articles", ("title",), model)
    stored = "SELECT xmin::text FROM gte.embedding"
    made = engine(dsn)
    with made.begin() as transaction:
        prepare_database(transaction)
    before = connection.execute(stored).fetchall()
    with made.connect() as one, made.connect() as other:
        for transaction in (one, other):
            transaction.execute(text("SET LOCAL lock_timeout = '5s'"))
            prepare_database(transaction)
        one.commit()
        other.commit()
    assert connection.execute(stored).fetchall() == before


def test_a_connection_that_has_no_transaction_makes_nothing(empty_dsn: str) -> None:
    found = engine(empty_dsn)
    with (
        found.execution_options(isolation_level="AUTOCOMMIT").connect() as committing,
        pytest.raises(DatabaseError, match="AUTOCOMMIT.*READ COMMITTED"),
    ):
        ensure_schema(committing)
    with connect(empty_dsn) as connection:
        assert connection.execute("SELECT FROM pg_extension WHERE extname = 'vector'").rowcount == 0


def test_a_renamed_table_is_followed(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'cat'), (2, 'database')")
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, registered)
    connection.execute("CREATE SCHEMA app")
    connection.execute('ALTER TABLE articles RENAME TO "it\'s {relation} $1 %s"')
    connection.execute('ALTER TABLE "it\'s {relation} $1 %s" SET SCHEMA app')
    table = 'app."it\'s {relation} $1 %s"'
    connection.execute(f"UPDATE {table} SET title = 'dog' WHERE id = 2".encode())
    renamed = load(connection, table)
    assert broken_rows(connection, renamed.declaration) == 0
    assert drain(connection, renamed).encoded == 1
    query = encode_query(encoder, renamed.declaration, "cat")
    hits = search(connection, renamed, query)
    rows = connection.execute(
        "SELECT key, score FROM gte.search(%s::regclass, %s, %s)",
        (table, query.dense, query.sparse),
    ).fetchall()
    assert rows == [(hit.key, hit.score) for hit in hits]


def test_a_dropped_table_is_forgotten_and_no_other(
    dsn: str, connection: Connection, model: str
) -> None:
    for name in ("articles", "notes"):
        connection.execute(ARTICLES.replace("articles", name))
        connection.execute(f"INSERT INTO {name} VALUES (1, 'cat')".encode())
        drain(connection, add_embedding(dsn, connection, name, ("title",), model))
    connection.execute("DROP TABLE articles")
    with engine(dsn).begin() as transaction:
        ensure_schema(transaction)
    assert connection.execute("SELECT relation::regclass::text FROM gte.embedding").fetchall() == [
        ("notes",)
    ]


def test_who_makes_the_schema_again_keeps_no_search_waiting(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'cat')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, articles)
    query = encode_query(encoder, articles.declaration, "cat")
    with connect(dsn) as searching, searching.transaction():
        assert search(searching, articles, query)
        with engine(dsn).begin() as transaction:
            transaction.execute(text("SET LOCAL lock_timeout = '2s'"))
            ensure_schema(transaction)
            connection.execute("SET statement_timeout = '5s'")
            assert search(connection, articles, query)


def test_a_database_without_pgvector_says_so(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine(empty_dsn).begin() as connection:
        connection.execute(text("CREATE ROLE gte_pg_test_nobody"))
        connection.execute(text("SET ROLE gte_pg_test_nobody"))
        with pytest.raises(Exception, match=r"pgvector|permission denied"):
            ensure_schema(connection)
        connection.rollback()


def test_a_schema_of_an_older_version_says_what_to_do(connection: Connection) -> None:
    connection.execute("ALTER TABLE gte.embedding DROP COLUMN standby")
    with pytest.raises(DatabaseError, match="gte-pg init"):
        load_all(connection)


def test_another_role_may_use_the_schema_of_its_owner(
    dsn: str, connection: Connection, model: str
) -> None:
    make_role(connection, "gte_pg_test_team")
    connection.execute("""
        CREATE SCHEMA team AUTHORIZATION gte_pg_test_team;
        CREATE SCHEMA closed;
        GRANT CREATE ON SCHEMA gte TO gte_pg_test_team;
        GRANT ALL ON ALL TABLES IN SCHEMA gte TO gte_pg_test_team;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA gte TO gte_pg_test_team;
    """)
    limited = make_conninfo(dsn, options="-c role=gte_pg_test_team")
    with connect(limited) as own:
        own.execute("CREATE TABLE team.notes (id int PRIMARY KEY, body text)")
        own.execute("INSERT INTO team.notes VALUES (1, 'cat'), (2, 'database')")
        notes = add_embedding(limited, own, "team.notes", ("body",), model)
        assert drain(own, notes).encoded == 2
        with pytest.raises(DatabaseError, match="GRANT USAGE ON SCHEMA"):
            find_table(own, "closed.notes")
        connection.execute(
            "UPDATE gte.schema_version SET version_num = '0006'; COMMENT ON SCHEMA gte IS 'older'"
        )
        with pytest.raises(DatabaseError, match="another version.*run gte-pg init as"):
            add_embedding(limited, own, "team.notes", ("body",), model, name="again")


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_no_function_is_read_by_the_search_path_of_its_caller(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    """Those written as expressions are bound when they are made."""
    connection.execute("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    add_embedding(dsn, connection, "notes", ("body",), model, layout=layout)
    unpinned = connection.execute("""
        SELECT p.oid::regprocedure::text FROM pg_proc AS p
        WHERE p.pronamespace = 'gte'::regnamespace AND p.prosqlbody IS NULL AND NOT EXISTS (
            SELECT FROM unnest(p.proconfig) AS setting WHERE setting LIKE 'search\\_path=pg\\_catalog, %'
        )
    """).fetchall()
    assert unpinned == []
    definers = connection.execute("""
        SELECT p.proname FROM pg_proc AS p
        WHERE p.pronamespace = 'gte'::regnamespace AND p.prosecdef
            AND has_function_privilege('public', p.oid, 'EXECUTE')
    """).fetchall()
    assert definers == []
