"""Tables on which something always is pending, or always held by somebody."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from gte_pg.database import Connection, Registered, connect
from gte_pg.declaration import pending_index
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Worker, sync_once, watch
from gte_pg.sync.indexes import build_index, missing_search_indexes
from gte_pg.sync.members import drain
from tests.tables import Interrupted, team_of, written_all_the_while


def test_a_sync_ends(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    def park(texts: list[str]) -> None:
        if "title 7" in texts:
            raise EncodingError("not this one")

    team = team_of(connection, Interrupted(encoder, park))
    with written_all_the_while(dsn):
        for encoded, failed in ((19, 1), (0, 0)):
            done = list(sync_once(connection, articles, team))[-1]
            assert (done.encoded >= encoded, done.failed, done.left) == (True, failed, 1)
    vectors = articles.declaration.vectors.as_string()
    fresh = f"SELECT count(embedding) > 0 FROM {vectors} WHERE id >= 1000"
    assert connection.execute(fresh.encode()).fetchone() == (True,)


def test_a_sync_does_not_wait_for_a_held_row(
    dsn: str, connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gte_pg.sync.worker._HELD_SECONDS", 1)
    assert build_index(connection, articles, pending_index(articles.declaration))
    vectors = articles.declaration.vectors.as_string()
    with written_all_the_while(dsn), connect(dsn) as application:
        application.execute("BEGIN")
        application.execute(f"SELECT FROM {vectors} WHERE id = 7 FOR UPDATE".encode())
        rounds = list(drain(team_of(connection), articles))
        assert sum(done.encoded for done in rounds) >= 19


def test_a_backfill_passes_by_what_others_hold(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Walks begin again all the while, and would meet the same rows each time.
    monkeypatch.setattr("gte_pg.sync.walk._SECONDS", 0.01)
    monkeypatch.setattr("gte_pg.sync.walk._TIMES_ITS_COST", 0)
    vectors = articles.declaration.vectors.as_string()
    slow = Interrupted(encoder, lambda _texts: time.sleep(0.05))
    with connect(dsn) as application:
        application.execute("BEGIN")
        application.execute(f"SELECT FROM {vectors} WHERE id <= 5 FOR UPDATE".encode())
        worker = Worker(connection, articles, slow, batch_rows=5)
        done = [worker.round() for _ in range(4)]
        assert sum(one.encoded for one in done if one is not None) == 15


def test_watching_does_not_encode_held_rows_again_and_again(
    dsn: str,
    connection: Connection,
    articles: Registered,
    encoder: Encoder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.sync.worker._HELD_SECONDS", 0.3)
    encoded: list[str] = []
    team = replace(team_of(connection, Interrupted(encoder, encoded.extend)), workers=1)
    watching = threading.Thread(target=lambda: list(watch(team, lambda _connection: [articles])))
    vectors = articles.declaration.vectors.as_string()
    with connect(dsn) as application, application.transaction():
        application.execute(f"SELECT FROM {vectors} FOR UPDATE".encode())
        watching.start()
        time.sleep(3)
        team.stop.set()
    watching.join()
    assert len(encoded) == 20


def test_watching_builds_the_search_indexes(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    team = replace(team_of(connection), workers=1, batch_rows=10)
    watching = threading.Thread(target=lambda: list(watch(team, lambda _connection: [articles])))
    watching.start()
    try:
        with written_all_the_while(dsn, rows=50, pause=0.005):  # more than anybody can encode
            until = time.monotonic() + 60
            while missing_search_indexes(connection, articles.declaration):
                assert time.monotonic() < until, "they are not built"
                time.sleep(0.05)
    finally:
        team.stop.set()
        watching.join()
