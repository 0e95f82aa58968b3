"""What the database tests do to tables again and again."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg.conninfo import make_conninfo

from gte_pg.database import (
    Connection,
    Registered,
    check_source_text,
    connect,
    engine,
    find_table,
    load,
    postgres_version,
    run,
)
from gte_pg.declaration import Declaration, Layout, OnChange, Storage
from gte_pg.encoder import Encoded, Encoder
from gte_pg.install import add_statements, prepare_database
from gte_pg.models import identify
from gte_pg.sync import Progress, Team, count_broken, sync_once
from gte_pg.sync.copy_keys import copy_keys

ARTICLES = (
    "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, likes int DEFAULT 0)"
)


def add_embedding(
    dsn: str,
    connection: Connection,
    table: str,
    source: tuple[str, ...],
    model: str,
    *,
    template: str | None = None,
    expression: str | None = None,
    name: str = "embedding",
    storage: Storage = "vector",
    layout: Layout = "columns",
    on_change: OnChange = "clear",
    index_dimensions: int | None = None,
    copied: bool = True,
) -> Registered:
    found = find_table(connection, table)
    declaration = found.declare(
        identify(model),
        source,
        template=template,
        expression=expression,
        name=name,
        storage=storage,
        layout=layout,
        on_change=on_change,
        index_dimensions=index_dimensions,
    )
    with engine(dsn).begin() as transaction:
        check_source_text(transaction, declaration)
        prepare_database(transaction)
        for statement in add_statements(declaration, postgres=postgres_version(transaction)):
            run(transaction, statement)
    registered = load(connection, table, name)
    if copied:
        assert copy_keys(connection, registered, threading.Event())
    return registered


def drain(connection: Connection, registered: Registered) -> Progress:
    """Encode all that is pending, and return the last progress."""
    *_, last = sync_once(connection, registered, replace(team_of(connection), workers=1))
    return last


def team_of(connection: Connection, encoder: Encoder | None = None) -> Team:
    """Return a team of workers on the database of `connection`."""
    team = Team(dsn_of(connection), threading.Event())
    return team if encoder is None else replace(team, encoder_for=lambda _declaration: encoder)


def dsn_of(connection: Connection) -> str:
    """Return the DSN of a connection, its password with it."""
    given = connection.info.get_parameters() | {"password": connection.info.password or None}
    return make_conninfo("", **given)


@contextmanager
def index_being_built(connection: Connection, table: str) -> Iterator[None]:
    """Have somebody else build an index of the table all the while; waiting for them is an error."""
    connection.execute("SET lock_timeout = '5s'")
    with connect(dsn_of(connection)) as old, connect(dsn_of(connection)) as builder:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT")  # its snapshot is what CREATE INDEX CONCURRENTLY waits for
        statement = f"CREATE INDEX CONCURRENTLY somebody_s ON {table} (id)".encode()
        thread = threading.Thread(target=builder.execute, args=(statement,))
        thread.start()
        begun = "SELECT FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting for%'"
        while not connection.execute(begun).fetchall():
            time.sleep(0.01)
        try:
            yield
        finally:
            old.rollback()
            thread.join()
            connection.execute("RESET lock_timeout")


@contextmanager
def written_all_the_while(dsn: str, *, rows: int = 1, pause: float = 0.001) -> Iterator[None]:
    """Have an application insert so many articles, from key 1,000 on, again and again."""
    stop = threading.Event()
    fresh = "INSERT INTO articles SELECT n, 'fresh ' || n FROM generate_series(%s::int, %s::int) n"

    def write() -> None:
        with connect(dsn) as own:
            for key in itertools.count(1_000, rows):
                own.execute(fresh.encode(), (key, key + rows - 1))
                if stop.wait(pause):
                    return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stop.set()
        writer.join()


def broken_rows(connection: Connection, declaration: Declaration) -> int:
    """Count the rows that are neither right, nor pending, nor without text."""
    return count_broken(connection, Registered(0, declaration))


@dataclass
class Interrupted(Encoder):
    """A real encoder that does something each time before it encodes."""

    inner: Encoder
    before: Callable[[list[str]], None]

    def __post_init__(self) -> None:
        self.identity = self.inner.identity

    def encode(self, texts: list[str], **options: object) -> Encoded:  # type: ignore[override]
        self.before(list(texts))
        return self.inner.encode(texts, **options)  # type: ignore[arg-type]


def rows(connection: Connection, statement: str) -> Iterator[tuple[object, ...]]:
    yield from connection.execute(statement.encode()).fetchall()
