"""Logical replication: the apply process is nobody's client, and its rows are captured all the same."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import connect
from gte_pg.declaration import Layout
from gte_pg.sync import count_broken, status
from tests.postgres import embedded_server
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture(scope="module")
def publisher_and_subscriber() -> Iterator[tuple[str, str]]:
    """Two databases of a server of their own: `wal_level` is nothing to change on anybody else's."""
    directory = Path(tempfile.mkdtemp(prefix="gte-pg-replication-"))
    directory.chmod(0o755)
    try:
        with embedded_server(directory, "wal_level = logical") as server:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute("CREATE DATABASE publisher")
                connection.execute("CREATE DATABASE subscriber")
            names = ("publisher", "subscriber")
            publisher, subscriber = (make_conninfo(server, dbname=name) for name in names)
            yield publisher, subscriber
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_replicated_rows_are_captured(
    publisher_and_subscriber: tuple[str, str], model: str, layout: Layout
) -> None:
    publisher, subscriber = publisher_and_subscriber
    with connect(publisher) as source, connect(subscriber) as target:
        for connection in (source, target):
            connection.execute("DROP TABLE IF EXISTS articles")
            connection.execute(ARTICLES)
        registered = add_embedding(subscriber, target, "articles", ("title",), model, layout=layout)
        source.execute("INSERT INTO articles VALUES (1, 'before'), (2, 'before'), (3, NULL)")
        source.execute("CREATE PUBLICATION all_articles FOR TABLE articles")
        # Made by hand: a subscription cannot make the slot of its own server, it would wait for itself.
        source.execute("SELECT pg_create_logical_replication_slot('articles', 'pgoutput')")
        target.execute(
            f"CREATE SUBSCRIPTION articles CONNECTION '{publisher}' PUBLICATION all_articles "
            "WITH (create_slot = false, slot_name = 'articles')".encode()
        )
        try:
            _wait(target, "SELECT count(*) FROM articles", 3)
            assert drain(target, registered).encoded == 2
            source.execute("UPDATE articles SET title = 'after' WHERE id = 1")
            source.execute("UPDATE articles SET likes = 7 WHERE id = 2")
            source.execute("INSERT INTO articles VALUES (4, 'new')")
            source.execute("DELETE FROM articles WHERE id = 3")
            _wait(target, "SELECT count(*) FROM articles WHERE id = 3", 0)
            assert count_broken(target, registered) == 0
            assert status(target, registered).pending == 2
            assert drain(target, registered).encoded == 2
            source.execute("TRUNCATE articles")
            _wait(target, "SELECT count(*) FROM articles", 0)
            assert count_broken(target, registered) == 0
        finally:
            target.execute("DROP SUBSCRIPTION articles")
            source.execute("DROP PUBLICATION all_articles")


def _wait(connection: psycopg.Connection[tuple[object, ...]], statement: str, value: int) -> None:
    deadline = time.monotonic() + 30
    while connection.execute(statement.encode()).fetchone() != (value,):
        assert time.monotonic() < deadline, statement
        time.sleep(0.05)
