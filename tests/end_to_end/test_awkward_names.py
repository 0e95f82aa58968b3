"""A table whose columns are called as the statements of gte-pg call things of their own."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, load_all
from gte_pg.declaration import Layout
from gte_pg.sync import count_broken
from tests.tables import drain

# A companion has the key's columns alone: so many are in the key.
_KEY = (
    "key d s e f v r p due keep moved taken found old new tg_op pending hash text version row rows "
    "dense sparse score leased free written last next"
)

_OTHERS = (
    "keys tids parts until owner picked copied updated textless gone broken tried array_row counted "
    "pending_before relation vectors name copying excluded given filled patience trigger tree failed speed "
    "rate oldest encoded estimated minute query goal best complete named token_rows gte_row locked "
    "embedding_id function functions capture percent scale step locale body value"
)


def gte_pg(dsn: str, *arguments: str) -> str:
    done: Any = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def key_of(row: int) -> str:
    return json.dumps([str(row), *("0" for _ in _KEY.split()[1:])])


def test_no_name_of_a_column_is_taken_for_one_of_ours(
    dsn: str, connection: Connection, model: str, plain_model: str, layout: Layout
) -> None:
    columns = ", ".join(f'"{name}" int DEFAULT 0' for name in _KEY.split())
    others = ", ".join(f"\"{name}\" text DEFAULT 'cat'" for name in _OTHERS.split())
    key = ", ".join(f'"{name}"' for name in _KEY.split())
    connection.execute(f"CREATE TABLE odd ({columns}, {others}, PRIMARY KEY ({key}))".encode())
    connection.execute("INSERT INTO odd (key) SELECT n FROM generate_series(1, 9) AS n")
    choices = ("--layout", layout, "--on-change", "keep")
    gte_pg(dsn, "add", "odd", "--source", ",".join(_OTHERS.split()), "--model", model, *choices)
    gte_pg(dsn, "sync")
    connection.execute("UPDATE odd SET body = 'dog', query = NULL WHERE key = 1")
    connection.execute("UPDATE odd SET key = key + 10, body = 'cow' WHERE key IN (2, 3)")
    connection.execute("UPDATE odd SET key = key + 10 WHERE key IN (4, 5)")
    connection.execute("DELETE FROM odd WHERE key IN (6, 14)")
    connection.execute("INSERT INTO odd (key, body) VALUES (20, 'bird')")
    gte_pg(dsn, "sync")
    gte_pg(dsn, "alter", "odd", "--template", "{body} {goal}\n{key} {found}")
    gte_pg(dsn, "sync")
    assert len(gte_pg(dsn, "search", "odd", "a bird", "--json").splitlines()) == 8
    assert json.loads(gte_pg(dsn, "explain", "odd", "a bird", key_of(20), "--json"))["rows"] == 8
    gte_pg(dsn, "recall", "odd")
    similar = "SELECT count(*) FROM gte.similar('odd', %s)"
    assert connection.execute(similar, (key_of(20),)).fetchone() == (7,)
    gte_pg(dsn, "switch", "odd", "--model", plain_model)
    gte_pg(dsn, "switch", "odd", "--back")
    connection.execute("SET session_replication_role = replica")
    connection.execute("UPDATE odd SET body = 'owl' WHERE key < 9")
    connection.execute("DELETE FROM odd WHERE key = 9")
    connection.execute("INSERT INTO odd (key) VALUES (30)")
    connection.execute("RESET session_replication_role")
    gte_pg(dsn, "sync", "--repair")
    gte_pg(dsn, "sync", "--check")
    for embedding in load_all(connection, "odd"):
        assert drain(connection, embedding).left == 0
        assert count_broken(connection, embedding) == 0
    gte_pg(dsn, "status")
    connection.execute("TRUNCATE odd")
    gte_pg(dsn, "remove", "odd", "--name", "embedding_next")
    gte_pg(dsn, "remove", "odd")
