"""The connection string: what is taken for one, and what is said of one that is none."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from click.testing import CliRunner
from psycopg.conninfo import conninfo_to_dict

from gte_pg.cli import main
from gte_pg.database import connect
from gte_pg.errors import DatabaseError
from gte_pg.sync import Team, watch

NOBODY = "host=127.0.0.1 port=1 dbname=x"


def gte_pg(dsn: str, *arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments, "--dsn", dsn])


@pytest.mark.parametrize(
    "dsn",
    ["mysql://x:SECRET@h/d", "postgresql://x:SEC%RET@h/d", "postgresql+psycopg://x:SEC%RET@h/d"],
)
@pytest.mark.parametrize("command", ["init", "status", "sync --watch"])
def test_one_that_cannot_be_read_is_not_quoted_and_ends_the_command(dsn: str, command: str) -> None:
    done = gte_pg(dsn, *command.split())
    assert done.exit_code == 1
    assert "percent-encode" in done.output
    assert "SEC" not in done.output
    with pytest.raises(DatabaseError, match="percent-encode"):
        connect(dsn)


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize("option", [False, True])
def test_an_empty_one_is_not_the_embedded_postgres(
    empty: str, option: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gte_pg.cli.database.start_embedded", pytest.fail)
    if option:
        done = gte_pg(empty, "status")
    else:
        done = CliRunner().invoke(main, ["status"], env={"GTE_PG_DSN": empty})
    assert done.exit_code == 1
    assert done.output.startswith("Error: the connection string is empty: ")


@pytest.mark.parametrize("scheme", ["postgresql+psycopg", "postgres+asyncpg", "postgresql"])
def test_sqlalchemy_s_form_is_taken_too(dsn: str, scheme: str) -> None:
    done = gte_pg(f"{scheme}://?{urlencode(conninfo_to_dict(dsn), quote_via=quote)}", "status")
    assert done.exit_code == 0, done.output


def test_every_command_says_in_one_way_that_nobody_answers() -> None:
    for command in ("init", "status"):
        done = gte_pg(NOBODY, command)
        assert done.exit_code == 1
        assert done.output.startswith("Error: cannot connect to Postgres (")
        assert "TCP/IP connections?): check --dsn" in done.output


def test_of_all_workers_one_says_that_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    watching = watch(Team(NOBODY, stop, workers=3), lambda _: [])
    with ThreadPoolExecutor() as pool:
        left = pool.submit(list, watching)
        # Each worker tries at once, and again after half a second.
        stop.wait(0.7)
        stop.set()
        assert left.result(30) == []
    (said,) = caplog.messages
    assert said.endswith("check --dsn or GTE_PG_DSN; again in 0.5 s")
