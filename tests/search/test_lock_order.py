"""A search locks the table before its companion, as TRUNCATE and its trigger do."""

from __future__ import annotations

import threading

import psycopg
import pytest

from gte_pg.database import Connection, Registered, connect
from gte_pg.encoder import Encoder
from gte_pg.search import encode_query, search
from tests.tables import ARTICLES, add_embedding, drain, index_being_built


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) n")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout="companion")
    drain(connection, registered)
    return registered


@pytest.mark.parametrize("earlier", [0, 7], ids=["first", "with a plan"])
@pytest.mark.parametrize("way", ["search", "exact", "gte.search", "gte.similar"])
def test_a_search_and_a_truncate_do_not_wait_for_each_other(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder, way: str, earlier: int
) -> None:
    query = encode_query(encoder, articles.declaration, "title")

    def ask(own: Connection) -> object:
        if way == "gte.search":
            statement = "SELECT FROM gte.search('articles', %s, NULL)"
            return own.execute(statement, (query.dense,), prepare=bool(earlier)).fetchall()
        if way == "gte.similar":
            statement = "SELECT FROM gte.similar('articles', '1')"
            return own.execute(statement, prepare=bool(earlier)).fetchall()
        return search(own, articles, query, exact=way == "exact")

    answers: list[object] = []
    with connect(dsn) as searcher:
        for _ in range(earlier):
            assert ask(searcher)
        with connect(dsn) as application, application.transaction(force_rollback=True):
            application.execute("LOCK TABLE articles IN ACCESS EXCLUSIVE MODE")
            thread = threading.Thread(target=lambda: answers.append(ask(searcher)))
            thread.start()
            thread.join(timeout=0.5)
            assert thread.is_alive(), "it waits for the table, as any SELECT does"
            application.execute("SET LOCAL lock_timeout = '30s'")
            application.execute("TRUNCATE articles_embedding")
        thread.join()
    assert len(answers) == 1


def test_a_truncate_does_not_wait_for_an_index_of_the_companion(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    """Whoever waits for the table by then has a snapshot for which the index build waits."""
    own, own_patience = "SELECT current_setting('lock_timeout')", "5s"
    with connect(dsn) as application, connect(dsn) as reader:
        with index_being_built(connection, "articles_embedding"), application.transaction():
            application.execute(f"SET lock_timeout = '{own_patience}'".encode())
            application.execute("TRUNCATE articles")
            assert application.execute(own).fetchone() == (own_patience,)
            waiting = threading.Thread(target=reader.execute, args=(b"SELECT FROM articles",))
            waiting.start()
            assert application.execute("SELECT FROM articles_embedding").fetchall() == []
        waiting.join()
        application.execute("INSERT INTO articles VALUES (1, 'new')")
        assert application.execute("SELECT FROM articles_embedding").rowcount == 1
        application.execute("TRUNCATE articles")
        assert application.execute(own).fetchone() == (own_patience,)
    left = "SELECT count(*) FROM articles_embedding"
    assert connection.execute(left).fetchone() == (0,)


def test_a_truncate_that_would_not_see_every_row_waits(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    with connect(dsn) as application, index_being_built(connection, "articles_embedding"):
        application.execute("SET lock_timeout = '1s'")
        application.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        application.execute("SELECT")
        connection.execute("INSERT INTO articles VALUES (21, 'after its snapshot')")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            application.execute("TRUNCATE articles")
        application.rollback()
    orphans = "SELECT FROM articles_embedding WHERE id NOT IN (SELECT id FROM articles)"
    assert connection.execute(orphans).fetchall() == []
