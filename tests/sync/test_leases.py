"""Leases: rows belong to one worker for a while, and come back when it dies or leaves."""

from __future__ import annotations

import os
import socket
import threading
import time
from datetime import timedelta

import pytest

from gte_pg.database import Connection, Registered, connect
from gte_pg.encoder import Encoder
from gte_pg.sync import (
    Held,
    Round,
    Worker,
    clock,
    find_held,
    status,
)
from tests.tables import Interrupted, broken_rows, drain


def test_a_dead_worker_s_rows_come_back_when_its_lease_runs_out(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    class Killed(BaseException):
        pass

    def die(_texts: list[str]) -> None:
        raise Killed

    dying = Worker(connection, articles, Interrupted(encoder, die), lease=timedelta(seconds=60))
    with pytest.raises(Killed):
        next(dying.rounds())
    assert drain(connection, articles).encoded == 0, "a live lease was taken over"
    connection.execute("UPDATE gte.lease SET until = now()")
    assert drain(connection, articles).encoded == 20
    assert connection.execute("SELECT FROM gte.lease").fetchall() == []


def test_rows_that_a_worker_holds_are_known(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    begun = clock(connection)
    connection.execute("INSERT INTO articles VALUES (21, 'fresh'), (22, 'fresh'), (23, 'fresh')")
    seen: list[Held] = []

    def look(_texts: list[str]) -> None:
        with connect(dsn) as other:
            other.execute("DELETE FROM articles WHERE id = 22")
            seen.extend(find_held(other, articles, since=since) for since in (None, begun))
            assert status(other, articles).held == 2

    assert Worker(connection, articles, Interrupted(encoder, look)).round() is not None
    every, earlier = seen
    assert (every.rows, every.owners) == (2, [f"{socket.gethostname()}:{os.getpid()}"])
    assert (earlier.rows, find_held(connection, articles)) == (0, Held(0, [], None))


@pytest.fixture
def long_texts(connection: Connection, articles: Registered) -> Registered:
    """Four rows, each of them a piece of its batch."""
    connection.execute("DELETE FROM articles WHERE id > 4")
    connection.execute("UPDATE articles SET body = repeat('some words ', 3000)")
    return articles


def test_a_lease_is_renewed_while_a_long_batch_is_encoded(
    dsn: str, connection: Connection, long_texts: Registered, encoder: Encoder
) -> None:
    lease = timedelta(seconds=3)

    def ask_meanwhile(_texts: list[str]) -> None:
        time.sleep(1)
        with connect(dsn) as other:
            impatient = Worker(other, long_texts, encoder, lease=lease)
            assert impatient.round() is None, "a live lease was taken over"

    worker = Worker(connection, long_texts, Interrupted(encoder, ask_meanwhile), lease=lease)
    assert worker.round() == Round(encoded=4, failed=0, left=0)
    assert connection.execute("SELECT FROM gte.lease").fetchall() == []


def test_a_lease_is_renewed_while_a_worker_waits_for_its_turn(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    lease = timedelta(seconds=2)
    turn = threading.Lock()
    rounds: list[Round | None] = []
    worker = Worker(connection, articles, encoder, lease=lease, turn=turn)
    waiting = threading.Thread(target=lambda: rounds.append(worker.round()))
    with turn:
        waiting.start()
        time.sleep(2.5)
        with connect(dsn) as other:
            impatient = Worker(other, articles, encoder, lease=lease)
            assert impatient.round() is None, "a live lease was taken over"
    waiting.join()
    assert rounds == [Round(encoded=20, failed=0, left=0)]


def test_who_has_lost_its_lease_when_its_turn_comes_encodes_nothing(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    encoded: list[str] = []
    rounds: list[Round | None] = []
    turn = threading.Lock()
    noted = Interrupted(encoder, encoded.extend)
    worker = Worker(connection, articles, noted, lease=timedelta(seconds=1), turn=turn)
    waiting = threading.Thread(target=lambda: rounds.append(worker.round()))
    with turn, connect(dsn) as other:
        waiting.start()
        while not other.execute("UPDATE gte.lease SET attempts = attempts + 1").rowcount:
            time.sleep(0.01)
        waiting.join(timeout=2)
    waiting.join()
    assert (encoded, rounds) == ([], [Round(encoded=0, failed=0, left=20)])


def test_a_worker_leaves_a_batch_that_another_has_taken_over(
    connection: Connection, long_texts: Registered, encoder: Encoder
) -> None:
    def sleep_past_the_lease(_texts: list[str]) -> None:
        time.sleep(0.1)
        connection.execute("UPDATE gte.lease SET attempts = attempts + 1")

    slow = Interrupted(encoder, sleep_past_the_lease)
    worker = Worker(connection, long_texts, slow, lease=timedelta(seconds=0.1))
    assert worker.round() == Round(encoded=1, failed=0, left=3)
    # It is the other's to release.
    assert len(connection.execute("SELECT FROM gte.lease").fetchall()) == 1
    connection.execute("UPDATE gte.lease SET until = now()")
    assert drain(connection, long_texts).encoded == 3
    assert broken_rows(connection, long_texts.declaration) == 0


def test_who_is_told_to_stop_leaves_the_rest_of_a_long_batch(
    connection: Connection, long_texts: Registered, encoder: Encoder
) -> None:
    stop = threading.Event()
    told = Interrupted(encoder, lambda _texts: stop.set())
    worker = Worker(connection, long_texts, told, stop=stop)
    assert worker.round() == Round(encoded=1, failed=0, left=3)
    assert connection.execute("SELECT FROM gte.lease").fetchall() == []
    assert drain(connection, long_texts).encoded == 3


def test_a_row_that_kills_workers_is_isolated(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    class Killed(BaseException):
        pass

    def die(texts: list[str]) -> None:
        if "title 13" in texts:
            raise Killed

    for _ in range(40):
        worker = Worker(connection, articles, Interrupted(encoder, die), lease=timedelta(0))
        try:
            list(worker.rounds())
            break
        except Killed:
            continue
    found = status(connection, articles)
    assert (found.encoded, found.parked) == (19, 1)
