"""Whoever writes to a table decides on its keys and on what its triggers say, not on a terminal."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from gte_pg.cli.main import main
from gte_pg.database import Connection
from tests.tables import add_embedding, drain

_REFUSE = r"""
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.title = 'no' AND NEW.embedding IS NOT NULL THEN
        RAISE E'\x1b]0;renamed\x07 no\nrow 7, parked: all is well';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION refuse();
"""


@pytest.fixture(autouse=True)
def notes(dsn: str, connection: Connection, model: str) -> None:
    connection.execute("CREATE TABLE notes (id text PRIMARY KEY, title text)")
    connection.execute(r"INSERT INTO notes VALUES ('[/x]', 'cat'), (E'\x1b]0;key\x07', 'dog')")
    drain(connection, add_embedding(dsn, connection, "notes", ("title",), model))


def test_keys_are_shown_as_they_are(dsn: str) -> None:
    found = CliRunner().invoke(main, ["search", "notes", "cat", "--dsn", dsn])
    assert found.exit_code == 0, found.exception
    assert "[/x]" in found.output
    assert r"\x1b]0;key\x07" in found.output


def test_control_characters_are_shown_as_escapes(
    dsn: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute("UPDATE notes SET title = 'no' WHERE title = 'dog'")
    connection.execute(_REFUSE)
    synced = CliRunner().invoke(main, ["sync", "--dsn", dsn])
    said = CliRunner().invoke(main, ["status", "--dsn", dsn])
    escaped = r"\x1b]0;renamed\x07 no\nrow 7, parked: all is well"
    assert rf"row \x1b]0;key\x07, will be retried: {escaped}" in said.output
    assert rf"row \x1b]0;key\x07 is set apart: {escaped}" in caplog.text
    for printed in (synced.output, said.output, caplog.text):
        assert "\x1b" not in printed
        assert "\nrow 7" not in printed
