"""pgvector in a schema that nobody's search path has: the commands, and what they print for psql."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.declaration import Layout
from tests.alembic.application import run_in_psql
from tests.tables import ARTICLES


@pytest.fixture(params=['"$user", public', "''"])
def dsn(empty_dsn: str, request: pytest.FixtureRequest) -> str:
    """A database with articles and an extension schema, with this search path."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "My Extensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "My Extensions"')
        connection.execute(ARTICLES)
        connection.execute("INSERT INTO articles VALUES (1, 'cat'), (2, 'database')")
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = {request.param}".encode())
    return empty_dsn


def gte_pg(dsn: str, *arguments: str) -> str:
    done: Any = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def printed_and_run(dsn: str, *arguments: str) -> str:
    run_in_psql(dsn, gte_pg(dsn, *arguments, "--print-sql"))
    return ""


@pytest.mark.parametrize("change", [gte_pg, printed_and_run])
def test_every_change_finds_its_types(
    dsn: str, layout: Layout, model: str, plain_model: str, change: Any
) -> None:
    table = "public.articles"
    change(dsn, "init")
    change(dsn, "add", table, "--source", "title", "--model", model, "--layout", layout)
    if change is printed_and_run:
        _, _, printed = gte_pg(dsn, "sync", "--print-sql").partition("\n")
        wanted = [
            one for one in printed.split(";\n") if "SET search_path" in one or " INDEX " in one
        ]
        run_in_psql(dsn, ";\n".join([*wanted, ""]))
    gte_pg(dsn, "sync")
    change(dsn, "switch", table, "--model", plain_model)
    if change is printed_and_run:
        gte_pg(dsn, "sync", "--table", table)
        change(dsn, "switch", table, "--model", plain_model)
    change(dsn, "switch", table, "--back")
    change(dsn, "alter", table, "--name", "embedding", "--source", "title,body")
    gte_pg(dsn, "sync")
    hits = gte_pg(dsn, "search", table, "cat", "--name", "embedding", "--json").splitlines()
    assert [json.loads(hit)["key"] for hit in hits] == [{"id": 1}, {"id": 2}]
    change(dsn, "remove", table, "--name", "embedding")
    assert gte_pg(dsn, "status") == ""
