"""A database of the benchmark's own: on the server that --dsn names, or on an embedded one made for it."""

from __future__ import annotations

import argparse
import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.database import engine, ensure_schema, start_embedded

# No checkpoint comes in between, which would have every page written to the log once more.
_EMBEDDED_SETTINGS = {"max_wal_size": "16GB", "checkpoint_timeout": "1h"}

_SETTINGS = ("fsync", "full_page_writes", "shared_buffers", "max_wal_size")


def parser(description: str, *, rows: int, rounds: int) -> argparse.ArgumentParser:
    """Return the command line that all benchmarks of this folder have."""
    given = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given.add_argument("--dsn", help="a superuser's; default: an embedded server of its own")
    given.add_argument("--rows", type=int, default=rows)
    given.add_argument("--rounds", type=int, default=rounds)
    return given


@contextmanager
def fresh_database(server: str | None) -> Iterator[str]:
    """Create a database with the gte schema for as long as the context lasts; its DSN."""
    server = server or _start_server()
    name = sql.Identifier(f"gte_pg_benchmark_{os.getpid()}")
    with psycopg.connect(server, autocommit=True) as connection:
        _print_server(connection)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
    try:
        dsn = make_conninfo(server, dbname=f"gte_pg_benchmark_{os.getpid()}")
        with engine(dsn).begin() as transaction:
            ensure_schema(transaction)
        yield dsn
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _start_server() -> str:
    folder = Path(tempfile.mkdtemp(prefix="gte-pg-benchmark-"))
    # The server may run as another user, who must reach its data.
    folder.chmod(0o755)
    # The last to be registered is called first: the server has stopped when its data go.
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = start_embedded(folder / "data")
    with psycopg.connect(server, autocommit=True) as connection:
        for name, value in _EMBEDDED_SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        connection.execute("SELECT pg_reload_conf()")
    return server


def _print_server(connection: psycopg.Connection) -> None:
    version = (
        "current_setting('server_version'), (SELECT default_version FROM pg_available_extensions"
    )
    found = connection.execute(f"SELECT {version} WHERE name = 'vector')".encode()).fetchone()
    assert found is not None
    settings = [
        f"{name} {value}"
        for (name, value) in connection.execute(
            "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name", [list(_SETTINGS)]
        ).fetchall()
    ]
    print(f"Postgres {found[0]}, pgvector {found[1]}, {', '.join(settings)}\n", flush=True)
