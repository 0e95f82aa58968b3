"""`gte-pg retry` knows a key however it is written, and says if there is none."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import EncodingError
from gte_pg.sync import Worker
from tests.tables import Interrupted, add_embedding


@pytest.fixture(autouse=True)
def parked(dsn: str, connection: Connection, model: str, encoder: Encoder, layout: Layout) -> None:
    connection.execute("CREATE TABLE notes (r text, n int, body text, PRIMARY KEY (r, n))")
    connection.execute("INSERT INTO notes VALUES ('eu', 0, 'a cat'), ('us', 0, 'a dog')")
    notes = add_embedding(dsn, connection, "notes", ("body",), model, layout=layout)

    def refuse(texts: list[str]) -> None:
        if texts != ["a"]:
            raise EncodingError("not today")

    list(Worker(connection, notes, Interrupted(encoder, refuse)).rounds())


def retry(dsn: str, *keys: str) -> Any:
    return CliRunner().invoke(main, ["retry", "notes", *keys, "--dsn", dsn])


@pytest.mark.parametrize("key", ['["eu", "0"]', '["eu","0"]', '["eu", 0]', '["\\u0065u", "0"]'])
def test_a_composite_key_may_be_written_as_any_json_array(dsn: str, key: str) -> None:
    done = retry(dsn, key)
    assert (done.exit_code, done.stderr) == (0, "1 row will be tried again\n")


def test_keys_that_no_failed_row_has_are_an_error(dsn: str) -> None:
    done = retry(dsn, '["eu", 1]', '["uk", 0]')
    told = 'no failed row of public.notes has the key ["eu", 1] or ["uk", 0]; see gte-pg status'
    assert (done.exit_code, told in done.stderr) == (1, True)
    assert retry(dsn, '["eu", 1]', '["eu", 0]').exit_code == 0


def test_what_is_no_key_is_named(dsn: str) -> None:
    for typed, what in (
        ('["eu", "one"]', "invalid input syntax for type integer"),
        ("eu", "invalid input syntax for type json"),
    ):
        done = retry(dsn, '["eu", 0]', typed)
        told = f"Error: {typed} is no key of public.notes, which is r text, n integer: {what}"
        assert (done.exit_code, done.stderr.startswith(told)) == (1, True), done.stderr
