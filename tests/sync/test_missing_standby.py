"""A server that waits for a synchronous standby which is away: commits hang, a worker's do not."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Registered, connect
from gte_pg.encoder import Encoder
from gte_pg.errors import ModelError
from gte_pg.sync import Worker, sync_once
from tests.postgres import embedded_server
from tests.tables import ARTICLES, Interrupted, add_embedding, drain, team_of


@pytest.fixture
def waiting() -> Iterator[str]:
    """A server of its own."""
    directory = Path(tempfile.mkdtemp(prefix="gte-pg-standby-"))
    try:
        with embedded_server(directory, "synchronous_standby_names = 'nobody'") as dsn:
            yield dsn
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def test_a_sync_goes_on(
    waiting: str, model: str, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    hasty = make_conninfo(waiting, options="-c synchronous_commit=off")
    with connect(hasty) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(ARTICLES)
        articles = add_embedding(hasty, connection, "articles", ("title",), model)
        drain(connection, articles)
        connection.execute("INSERT INTO articles VALUES (1, 'x'), (2, 'x')")
    monkeypatch.setattr("gte_pg.sync.sync.is_due", lambda *_, **__: True)
    working = threading.Thread(target=_work, args=(waiting, articles, encoder), daemon=True)
    working.start()
    working.join(30)
    assert not working.is_alive(), "it waits for the standby"


def _work(dsn: str, articles: Registered, encoder: Encoder) -> None:
    def fail(_texts: list[str]) -> None:
        raise ModelError("its files are gone")

    with connect(dsn) as own:
        # It renews its lease at once, and gives it back.
        worker = Worker(own, articles, Interrupted(encoder, fail), lease=timedelta(0))
        with pytest.raises(ModelError):
            worker.round()
        *_, last = sync_once(own, articles, team_of(own))
        assert (last.encoded, last.left) == (2, 0)
