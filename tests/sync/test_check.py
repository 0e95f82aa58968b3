from __future__ import annotations

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered
from gte_pg.sync import count_broken, repair, status
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 10) n")
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, registered)
    return registered


PAST_THE_TRIGGERS = {
    "other text": ("UPDATE articles SET title = 'x' WHERE id <= 3", 3, 7),
    "no text": ("UPDATE articles SET title = '' WHERE id <= 2", 2, 8),
    "vector gone": ("UPDATE articles SET embedding = NULL WHERE id = 1", 1, 9),
    "nothing said": (
        "INSERT INTO articles (id, title, embedding_pending) VALUES (11, 'x', NULL)",
        1,
        10,
    ),
    "no text, pending": ("INSERT INTO articles (id, title) VALUES (11, NULL)", 1, 10),
}


@pytest.mark.parametrize("case", PAST_THE_TRIGGERS)
def test_what_went_past_the_triggers_is_found_and_mended(
    dsn: str, connection: Connection, articles: Registered, case: str
) -> None:
    statement, broken, right = PAST_THE_TRIGGERS[case]
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute(statement.encode())
    connection.execute("ALTER TABLE articles ENABLE TRIGGER USER")
    assert count_broken(connection, articles) == broken
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert (checked.exit_code, f'"broken": {broken}' in checked.stdout) == (1, True)
    assert status(connection, articles).encoded >= right
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert repaired.exit_code == 0, repaired.stderr
    assert count_broken(connection, articles) == 0
    assert status(connection, articles).pending == 0
    assert repair(connection, articles) == 0
    assert CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn]).exit_code == 0
