"""Rows that are parked stay in the work list: whoever comes by steps over them, but not all the time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Worker, retry_failures, status
from gte_pg.sync.claim import Batch, Claims
from gte_pg.sync.walk import Walks
from tests.tables import Interrupted


@pytest.fixture
def walks(connection: Connection, articles: Registered, encoder: Encoder) -> Walks:
    """Those of who has seen that there is nothing but parked rows."""

    def refuse(texts: list[str]) -> None:
        if any("title" in text for text in texts):
            raise EncodingError("not today")

    half = "UPDATE {} SET embedding_pending = now() WHERE id <= 10"
    connection.execute(sql.SQL(half).format(articles.declaration.vectors))
    list(Worker(connection, articles, Interrupted(encoder, refuse)).rounds())
    assert status(connection, articles).parked == 20
    walks = Walks()
    assert claim(connection, articles, walks) is None
    return walks


def claim(connection: Connection, articles: Registered, walks: Walks) -> Batch | None:
    return Claims(
        connection, articles, owner="somebody", lease=timedelta(minutes=5), walks=walks
    ).claim(256)


def test_they_are_not_looked_at_again_for_ten_times_as_long_as_it_took(
    connection: Connection,
    articles: Registered,
    walks: Walks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.walk._TIMES_ITS_COST", 10**9)
    assert retry_failures(connection, articles) == 20
    assert claim(connection, articles, walks) is None
    monkeypatch.setattr("gte_pg.sync.walk._TIMES_ITS_COST", 0)
    batch = claim(connection, articles, walks)
    assert batch is not None
    assert len(batch.keys) == 10


def test_what_is_written_meanwhile_is_found_at_once(
    connection: Connection,
    articles: Registered,
    walks: Walks,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.walk._TIMES_ITS_COST", 10**9)
    for key in ("21", "22"):
        connection.execute("INSERT INTO articles VALUES (%s, 'fresh')", (key,))
        batch = claim(connection, articles, walks)
        assert batch is not None
        assert batch.keys == [key]
