"""A database that writes its dates in another way than ISO's."""

from __future__ import annotations

import threading

import pytest
from click.testing import CliRunner
from psycopg import sql

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load_all
from gte_pg.sync import Team, status, wait_until_synced, watch


@pytest.mark.parametrize("style", ["German", "SQL, DMY", "Postgres, MDY"])
def test_whatever_dates_look_like_rows_are_encoded(
    dsn: str, connection: Connection, articles: Registered, plain_model: str, style: str
) -> None:
    change = sql.SQL("ALTER DATABASE {} SET datestyle = {}")
    connection.execute(change.format(sql.Identifier(connection.info.dbname), sql.Literal(style)))

    def gte_pg(*arguments: str) -> str:
        done = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
        assert done.exit_code == 0, done.output
        return done.output

    gte_pg("sync")
    assert "20 encoded, 0 pending" in gte_pg("status")
    with connect(dsn) as own:
        own.execute("UPDATE articles SET title = 'changed' WHERE id <= 3")
        assert "17 encoded, 3 pending (the oldest for" in gte_pg("status")
        assert not wait_until_synced(own, "articles", timeout=0)
        stop = threading.Event()
        for _, progress in watch(Team(dsn, stop), load_all):
            if progress.stage == "done" and not progress.left:
                stop.set()
        assert wait_until_synced(own, "articles", timeout=0)
        gte_pg("switch", "articles", "--model", plain_model)
        assert [status(own, one).pending for one in load_all(own)] == [0, 0]
