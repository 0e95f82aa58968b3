"""What `gte-pg status` says of rows that failed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection
from gte_pg.encoder import Encoder
from gte_pg.sync import Worker
from tests.tables import ARTICLES, Interrupted, add_embedding


def test_failures_are_told_with_their_attempts(
    dsn: str,
    connection: Connection,
    model: str,
    encoder: Encoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connection.execute(ARTICLES)
    articles = add_embedding(dsn, connection, "articles", ("title",), model)
    connection.execute("INSERT INTO articles VALUES (7, 'a cat')")

    def crash(texts: list[str]) -> None:
        if "a cat" in texts:
            raise RuntimeError("out of luck")

    for attempt in range(1, 6):
        list(Worker(connection, articles, Interrupted(encoder, crash)).rounds())
        state = "parked after 5 attempts" if attempt == 5 else "will be retried"
        told = CliRunner().invoke(main, ["status", "--dsn", dsn]).stdout
        assert f"row 7, {state}" in told
        told = CliRunner().invoke(main, ["status", "--json", "--dsn", dsn]).stdout
        (failure,) = json.loads(told)["failures"]
        assert (failure["key"], failure["attempts"], failure["parked"]) == (
            "7",
            attempt,
            attempt == 5,
        )
        assert "out of luck" in failure["error"]
        logged = "public.articles (embedding): row 7 is set apart: RuntimeError('out of luck')"
        assert [record.getMessage() for record in caplog.records] == [logged]
        caplog.clear()
        connection.execute("UPDATE gte.failure SET retry_at = now() WHERE retry_at IS NOT NULL")
