"""Failures of rows that are gone, or that have other text now: they are nobody's trouble any more."""

from __future__ import annotations

from functools import partial

import pytest

from gte_pg.database import Connection, Registered, load
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError, EncodingError
from gte_pg.sync import (
    Worker,
    count_failures,
    list_failures,
    retry_failures,
    status,
    sync_once,
    watch,
)
from gte_pg.sync.failures import forget_stale_failures
from tests.tables import Interrupted, drain, rows, team_of


@pytest.fixture(autouse=True)
def failed(connection: Connection, articles: Registered, encoder: Encoder) -> None:
    """All articles have failed; of some the text is another one by now, and some are gone."""

    def refuse(texts: list[str]) -> None:
        if any("title" in text for text in texts):
            raise EncodingError("not today")

    list(Worker(connection, articles, Interrupted(encoder, refuse)).rounds())
    connection.execute(
        "UPDATE gte.failure SET failed_at = now() - interval '1 day' WHERE key = '1'"
    )
    connection.execute("DELETE FROM articles WHERE id BETWEEN 2 AND 9")
    connection.execute("UPDATE articles SET title = 'another' WHERE id > 9")


def test_they_hide_no_other_and_are_not_tried_again(
    connection: Connection, articles: Registered
) -> None:
    assert [failure.key for failure in list_failures(connection, articles, most=5)] == ["1"]
    assert (count_failures(connection, articles), status(connection, articles).parked) == (1, 1)
    assert retry_failures(connection, articles) == 1


def test_a_sync_forgets_them(connection: Connection, articles: Registered) -> None:
    drain(connection, articles)
    assert list(rows(connection, "SELECT key, parked FROM gte.failures")) == [("1", True)]


def test_who_watches_forgets_them(connection: Connection, articles: Registered) -> None:
    team = team_of(connection)
    for _, progress in watch(team, lambda _: [articles]):
        if progress.stage == "done":
            team.stop.set()
    assert list(rows(connection, "SELECT key, parked FROM gte.failures")) == [("1", True)]


@pytest.mark.parametrize("articles", ["columns"], indirect=True)
def test_those_of_a_former_primary_key_are_told_and_take_no_new_ones_along(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    connection.execute("""
        ALTER TABLE articles DROP CONSTRAINT articles_pkey;
        ALTER TABLE articles ADD other uuid PRIMARY KEY DEFAULT gen_random_uuid()
    """)
    present = load(connection, "articles")
    for ask in (status, retry_failures, count_failures, partial(list_failures, most=5)):
        with pytest.raises(DatabaseError, match="another primary key before: run gte-pg sync"):
            ask(connection, present)

    def refuse(texts: list[str]) -> None:
        if any("title" in text for text in texts):
            raise EncodingError("not today")

    *_, last = sync_once(connection, present, team_of(connection, Interrupted(encoder, refuse)))
    assert (last.failed, last.left) == (1, 1)
    assert count_failures(connection, present) == 1


def test_who_watches_looks_for_them_once_a_minute(
    connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Registered] = []
    monkeypatch.setattr(
        "gte_pg.sync.sync.forget_stale_failures", lambda _, registered: looked.append(registered)
    )
    monkeypatch.setattr("gte_pg.sync.sync._LEAST_PAUSE", 0)
    monkeypatch.setattr("gte_pg.sync.share._LOOK_SECONDS", 0)
    team, drained = team_of(connection), 0
    for _, progress in watch(team, lambda _: [articles]):
        drained += progress.stage == "done"
        if drained == 3:
            team.stop.set()
    assert looked == [articles]


def test_who_is_told_to_stop_does_not_look_for_them(
    connection: Connection, articles: Registered
) -> None:
    before = list(rows(connection, "SELECT FROM gte.failure"))
    team = team_of(connection)
    team.stop.set()
    list(sync_once(connection, articles, team))
    assert list(rows(connection, "SELECT FROM gte.failure")) == before


def test_a_limit_on_statements_does_not_keep_them(
    connection: Connection, articles: Registered
) -> None:
    connection.execute("CREATE TABLE limits (value text)")
    connection.execute("""
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO limits VALUES (current_setting(''statement_timeout'')); RETURN NULL; END';
        CREATE TRIGGER note AFTER DELETE ON gte.failure EXECUTE FUNCTION note()
    """)
    connection.execute("SET statement_timeout = '7s'")
    forget_stale_failures(connection, articles)
    assert list(rows(connection, "SELECT * FROM limits")) == [("0",)]
