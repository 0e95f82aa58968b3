"""Commands that work on one embedding at the same time: none undoes unseen what another has done."""

from __future__ import annotations

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, engine, load, load_all
from gte_pg.declaration import Layout
from gte_pg.sync import count_broken, missing_triggers, status
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 5) n")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, registered)
    return registered


def gte_pg(dsn: str, *arguments: str, fails: str = "") -> None:
    done: Any = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert (done.exit_code, fails in done.output) == (int(bool(fails)), True), done.output


def is_sound(connection: Connection) -> bool:
    """Whether triggers, registry and rows agree, also after a text has changed."""
    connection.execute("UPDATE articles SET body = 'a body' WHERE id = 1")
    registered = load_all(connection, "articles")
    sound = [
        missing_triggers(connection, one) == [] and count_broken(connection, one) == 0
        for one in registered
    ]
    for one in registered:
        drain(connection, one)
    return all(sound) and all(status(connection, one).pending == 0 for one in registered)


def before_transaction(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Have something happen after a command has read the registry, before its transaction begins."""
    acts = [act]

    def late(dsn: str) -> Any:
        if acts:
            acts.pop()()
        return engine(dsn)

    monkeypatch.setattr("gte_pg.cli.schema_change.engine", late)


@pytest.mark.parametrize("command", ["alter", "remove", "switch", "back"])
def test_what_has_changed_since_it_was_read_is_left_as_it_is(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    switch = ("switch", "articles", "--model", plain_model)
    alter = ("alter", "articles", "--source", "title,body")
    if command == "back":
        gte_pg(dsn, *switch)
    first, second = {
        "alter": (switch, alter),
        "remove": (switch, ("remove", "articles", "--name", "embedding")),
        "switch": (alter, switch),
        "back": (alter, ("switch", "articles", "--back")),
    }[command]
    before_transaction(monkeypatch, lambda: gte_pg(dsn, *first))
    done = CliRunner().invoke(main, [*second, "--dsn", dsn])
    assert (done.exit_code, "since this command read of it" in done.output) == (1, True)
    present = load(connection, "articles", "embedding").declaration
    assert present.source == (("title", "body") if first == alter else ("title",))
    assert (present.model == plain_model) == (command != "switch")
    assert is_sound(connection)
    if command != "remove":
        gte_pg(dsn, *second)
        assert is_sound(connection)


def test_an_alter_while_a_switch_is_under_way_holds_after_it(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch = ("switch", "articles", "--model", plain_model)
    gte_pg(dsn, *switch, "--least-recall", "1.01", fails="below 1.01")
    # Whether the switch was stopped before …
    gte_pg(dsn, "alter", "articles", "--name", "embedding", "--source", "title,body")
    assert is_sound(connection)

    def alter_meanwhile(*_: object, **__: object) -> int:
        alter = ("--source", "body,title", "--on-change", "keep", "--index-dimensions", "16")
        gte_pg(dsn, "alter", "articles", "--name", "embedding", *alter)
        return 0

    # … or has encoded all, and is about to exchange the two.
    with monkeypatch.context() as patched:
        patched.setattr("gte_pg.install.filling.count_lost", alter_meanwhile)
        gte_pg(dsn, *switch, fails="since this command read of it")
    gte_pg(dsn, *switch)
    for one in load_all(connection, "articles"):
        declaration = one.declaration
        assert (declaration.source, declaration.on_change) == (("body", "title"), "keep")
        assert declaration.index_dimensions == 16
    assert load(connection, "articles").declaration.model == plain_model
    assert is_sound(connection)


def test_two_switches_that_begin_at_once_are_one(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def begin() -> None:
        add_embedding(
            dsn,
            connection,
            "articles",
            ("title",),
            plain_model,
            name="embedding_next",
            layout=layout,
        )

    before_transaction(monkeypatch, begin)
    switch = ("switch", "articles", "--model", plain_model)
    gte_pg(dsn, *switch, fails="another command has begun a switch since this one read of it")
    gte_pg(dsn, *switch)
    assert load(connection, "articles", "embedding").declaration.model == plain_model
    assert is_sound(connection)


def test_a_switch_does_not_go_on_with_an_embedding_of_another_text(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    switch = ("switch", "articles", "--model", plain_model)
    gte_pg(dsn, *switch, "--least-recall", "1.01", fails="below 1.01")
    gte_pg(dsn, "alter", "articles", "--name", "embedding_next", "--source", "body")
    gte_pg(dsn, *switch, fails="would change source too. Give it up")
    gte_pg(dsn, "remove", "articles", "--name", "embedding_next")
    gte_pg(dsn, *switch)


@pytest.mark.parametrize(
    ("room", "stage"),
    [
        ("gte_pg.install.filling", "count_lost"),
        ("gte_pg.cli.switch", "dense_recall"),
        ("gte_pg.cli.switch", "exchange_statements"),
    ],
)
def test_who_is_told_to_stop_exchanges_nothing(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    monkeypatch: pytest.MonkeyPatch,
    room: str,
    stage: str,
) -> None:
    module = importlib.import_module(room)
    work = getattr(module, stage)

    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return work(*arguments, **options)

    monkeypatch.setattr(module, stage, interrupted)
    done = CliRunner().invoke(main, ["switch", "articles", "--model", plain_model, "--dsn", dsn])
    assert done.exit_code == 1, done.output
    assert load(connection, "articles").declaration == articles.declaration
