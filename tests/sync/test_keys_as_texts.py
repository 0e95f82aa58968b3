"""Keys go from worker to worker as texts: sessions that write dates in other ways mean the same rows."""

from __future__ import annotations

import threading
from datetime import timedelta
from itertools import islice

import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, connect
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Worker, count_broken, list_failures, status
from gte_pg.sync import copy_keys as copying
from gte_pg.sync.claim import Claims
from tests.tables import Interrupted, add_embedding, drain

_NOTES = """
CREATE TABLE notes (
    day date, moment timestamptz, span interval, digest bytea, share float8, text text,
    PRIMARY KEY (day, moment, span, digest, share)
)
"""

# So that every day is of one month, and of another where the two are mistaken for each other.
_FILL = """
INSERT INTO notes
SELECT date '2026-01-01' + n, timestamptz '2026-03-01 12:00Z' - n * interval '1 day 1 us',
       make_interval(days => n, secs => -n), decode(lpad(n::text, 4, '0'), 'hex'), n / 3.0, 'note ' || n
FROM generate_series(1, 60) AS n
"""

_SESSIONS = [
    "-c datestyle=SQL,DMY -c timezone=Asia/Kolkata -c bytea_output=escape",
    "-c datestyle=German -c intervalstyle=sql_standard -c extra_float_digits=-6",
    "-c datestyle=Postgres,MDY -c intervalstyle=iso_8601 -c timezone=America/New_York",
]


@pytest.fixture(autouse=True)
def table(connection: Connection) -> None:
    connection.execute(_NOTES)
    connection.execute(_FILL)


@pytest.fixture
def notes(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    return add_embedding(dsn, connection, "notes", ("text",), model, layout=layout)


@pytest.mark.parametrize("left", _SESSIONS)
def test_a_lease_can_be_taken_over(
    dsn: str, connection: Connection, notes: Registered, left: str
) -> None:
    with connect(make_conninfo(dsn, options=left)) as dying:
        claims = Claims(dying, notes, owner="somebody", lease=timedelta(0))
        assert claims.claim(40) is not None
    done = drain(connection, notes)
    assert (done.encoded, done.left) == (60, 0)
    assert count_broken(connection, notes) == 0


def test_a_failure_is_known_to_all(
    dsn: str, connection: Connection, notes: Registered, encoder: Encoder
) -> None:
    def refuse(texts: list[str]) -> None:
        if any("note" in text for text in texts):
            raise EncodingError("not today")

    for session in _SESSIONS:
        with connect(make_conninfo(dsn, options=session)) as own:
            refusing = Worker(own, notes, Interrupted(encoder, refuse))
            failed = [done.failed for done in islice(refusing.rounds(), 2)]
            assert failed == ([] if session != _SESSIONS[0] else [60])
            assert status(own, notes).parked == 60
    assert len(list_failures(connection, notes, most=100)) == 60


def test_copying_goes_on_in_any_session(
    dsn: str, connection: Connection, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = add_embedding(
        dsn, connection, "notes", ("text",), model, layout="companion", copied=False
    )
    monkeypatch.setattr(copying, "_MOST_ROWS", 7)
    for session in _SESSIONS:
        with connect(make_conninfo(dsn, options=session)) as own:
            copying._copy_some(own, notes, 13)
    assert copying.copy_keys(connection, notes, threading.Event())
    assert connection.execute("SELECT count(*) FROM notes_embedding").fetchone() == (60,)
    assert count_broken(connection, notes) == 0
