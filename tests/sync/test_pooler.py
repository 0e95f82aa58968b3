"""Through PgBouncer in transaction mode, where it is installed: every transaction another session."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from gte_pg.database import Connection, Registered, connect_pooled, connect_to_stay, load_all
from gte_pg.encoder import Encoder
from gte_pg.sync import Team, count_broken, missing_triggers, sync_once, wait_until_synced, watch
from gte_pg.sync.index_build import unhurried
from gte_pg.sync.indexes import missing_search_indexes

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="PgBouncer is not installed"
)

# Fewer sessions than clients.
_CONFIGURATION = """
[databases]
{database} = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def pooled(dsn: str, tmp_path: Path) -> Iterator[str]:
    """A DSN of the test's database, by way of a pooler."""
    server = conninfo_to_dict(dsn)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = tmp_path / "pgbouncer.ini"
    known = ("host", "port", "user", "password", "dbname")
    configuration.write_text(
        _CONFIGURATION.format(
            database=server["dbname"],
            server=" ".join(f"{name}={server[name]}" for name in known if name in server),
            port=port,
        )
    )
    process = subprocess.Popen(["pgbouncer", *_as_whom(server, configuration)])
    try:
        pooled = f"host=127.0.0.1 port={port} user=anybody dbname={server['dbname']}"
        for _ in range(100):
            try:
                psycopg.connect(pooled).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield pooled
    finally:
        process.terminate()
        process.wait()


def _as_whom(server: Mapping[str, object], configuration: Path) -> list[str]:
    """It does not run as root; the socket of an embedded server is for the server's user."""
    if getpass.getuser() != "root":
        return [str(configuration)]
    for folder in (configuration.parent, *configuration.parents):
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    data = Path(str(server.get("host", "")))
    return ["-u", data.owner() if data.is_dir() else "nobody", str(configuration)]


def test_workers_and_applications_share_sessions(
    pooled: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    team = Team(pooled, threading.Event(), lambda _: encoder, workers=3, batch_rows=4)

    def write(start: int) -> None:
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as own:
            for turn in range(20):
                own.execute("UPDATE articles SET title = %s WHERE id %% 4 = %s", (f"{turn}", start))
                time.sleep(0.02)

    def watching() -> None:
        for _ in watch(team, load_all):
            pass

    watcher = threading.Thread(target=watching)
    writers = [threading.Thread(target=write, args=(start,)) for start in range(4)]
    for thread in (watcher, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    assert wait_until_synced(connection, "articles", timeout=30)
    team.stop.set()
    watcher.join()
    assert count_broken(connection, articles) == 0
    assert missing_triggers(connection, articles) == []
    locks = "SELECT FROM pg_locks WHERE locktype = 'advisory'"
    assert connection.execute(locks).fetchall() == []


def test_a_sync_builds_its_indexes(
    pooled: str, connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    team = Team(pooled, threading.Event(), lambda _: encoder)
    with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as own:
        *_, last = sync_once(own, articles, team)
    assert (last.encoded, last.left) == (20, 0)
    assert missing_search_indexes(connection, articles.declaration) == []


def test_an_index_build_sets_nothing_in_a_session_that_is_shared(dsn: str, pooled: str) -> None:
    for address, expected in ((pooled, "7s"), (dsn, "0")):
        with psycopg.connect(address, autocommit=True, prepare_threshold=None) as own:
            own.execute("SET statement_timeout = '7s'")
            with unhurried(own):
                assert own.execute("SHOW statement_timeout").fetchone() == (expected,)
            assert own.execute("SHOW statement_timeout").fetchone() == ("7s",)


def test_a_worker_sets_nothing_in_a_session_that_is_shared(pooled: str) -> None:
    with connect_pooled(pooled) as somebody:
        somebody.execute("SET idle_session_timeout = '7s'")
    with connect_to_stay(pooled) as own:
        assert own.execute("SHOW idle_session_timeout").fetchone() == ("7s",)
