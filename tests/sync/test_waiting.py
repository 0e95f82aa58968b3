"""A caller waits until what it has written is searchable."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from gte_pg.database import Connection, Registered, connect, engine
from gte_pg.errors import DatabaseError
from gte_pg.sync import (
    status,
    wait_until_synced,
)
from tests.tables import drain


def test_a_caller_can_wait_for_its_own_write(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    wait = "SELECT gte.wait_until_synced('articles', %s)"
    assert connection.execute(wait, ("100 ms",)).fetchone() == (False,)
    assert not wait_until_synced(connection, "articles", timeout=0.1)

    def work() -> None:
        with connect(dsn) as own:
            drain(own, articles)

    worker = threading.Timer(0.2, work)
    worker.start()
    assert wait_until_synced(connection, "articles", timeout=20)
    assert connection.execute(wait, ("20 s",)).fetchone() == (True,)
    assert status(connection, articles).pending == 0
    worker.join()


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_who_would_wait_in_vain_is_told(
    connection: Connection, articles: Registered, isolation: str
) -> None:
    wait = "SELECT gte.wait_until_synced('articles', '1 minute')"
    begin = f"BEGIN ISOLATION LEVEL {isolation}".encode()
    told = f"a {isolation.lower()} transaction cannot wait for workers"
    connection.execute(begin)
    with pytest.raises(DatabaseError, match=told):
        wait_until_synced(connection, "articles")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match=told):
        connection.execute(wait)
    connection.execute("ROLLBACK")
    drain(connection, articles)
    connection.execute(begin)
    assert wait_until_synced(connection, "articles")
    assert connection.execute(wait).fetchone() == (True,)
    connection.execute("ROLLBACK")
    connection.execute("CREATE TABLE plain (id int PRIMARY KEY)")
    with pytest.raises(DatabaseError, match="has no embedding"):
        wait_until_synced(connection, "plain")
    with pytest.raises(psycopg.errors.UndefinedObject, match="has no embedding"):
        connection.execute("SELECT gte.wait_until_synced('plain')")


def test_nobody_waits_for_ever(connection: Connection, articles: Registered) -> None:
    connection.execute("SET statement_timeout = '5s'")
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="the timeout is NULL"):
        connection.execute("SELECT gte.wait_until_synced('articles', NULL)")


def test_who_has_a_session_or_connection_of_sqlalchemy_waits_on_it(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    made = engine(dsn)
    with Session(made) as session, made.connect() as another:
        for own in (session, session.connection(), another):
            assert not wait_until_synced(own, "articles", timeout=0)
            assert own.in_transaction(), "and SQLAlchemy knows it"
        drain(connection, articles)
        for own in (session, session.connection(), another):
            assert wait_until_synced(own, "articles", timeout=0)


def test_who_waits_on_a_connection_of_another_kind_is_told_which_ones_there_are() -> None:
    made = sa.create_engine("sqlite://")
    with made.connect() as other:
        wrong: list[Any] = [made, other]
        for one, kind in zip(wrong, ("sqlalchemy's Engine", "sqlite3's Connection"), strict=True):
            with pytest.raises(DatabaseError, match=f"SQLAlchemy's Session or Connection.*{kind}"):
                wait_until_synced(one, "articles")
