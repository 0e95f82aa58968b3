"""The benchmark's table, `id, body, likes` with 362 bytes of text a row, and an embedding on it."""

from __future__ import annotations

import threading

from instant import MODEL, InstantEncoder
from psycopg import sql

from gte_pg.database import (
    Connection,
    Registered,
    connect,
    engine,
    find_table,
    load,
    postgres_version,
    run,
)
from gte_pg.declaration import Layout, Storage, pending_index
from gte_pg.install import add_statements
from gte_pg.models import identify
from gte_pg.sync import Team, Worker, sync_once
from gte_pg.sync.copy_keys import copy_keys
from gte_pg.sync.indexes import build_index

# An autovacuum would come into the measurement.
_UNATTENDED = sql.SQL("ALTER TABLE {} SET (autovacuum_enabled = off)")

# Text that does not compress, as short text does not.
BODY = "(SELECT string_agg(md5(n || ' ' || i), ' ') FROM generate_series(1, 11) AS i)"


def make_table(connection: Connection, name: str = "articles") -> None:
    """Create the table, empty, in the place of any that was there."""
    connection.execute(f"DROP TABLE IF EXISTS {name}, {name}_embedding CASCADE".encode())
    connection.execute(
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, body text, likes int DEFAULT 0)".encode()
    )
    connection.execute(_UNATTENDED.format(sql.Identifier(name)))


def fill_table(connection: Connection, rows: int, name: str = "articles") -> None:
    connection.execute(
        f"INSERT INTO {name} (id, body) SELECT n, {BODY} FROM generate_series(1, {rows}) AS n".encode()
    )


def add_embedding(
    dsn: str, *, name: str = "articles", storage: Storage = "halfvec", layout: Layout = "columns"
) -> Registered:
    """Declare an embedding as `gte-pg add` does, with its queue; every row is pending."""
    with connect(dsn) as connection:
        declaration = find_table(connection, name).declare(
            identify(MODEL), ("body",), storage=storage, layout=layout
        )
        with engine(dsn).begin() as transaction:
            for statement in add_statements(declaration, postgres=postgres_version(transaction)):
                run(transaction, statement)
        connection.execute(_UNATTENDED.format(declaration.vectors))
        registered = load(connection, name)
        assert copy_keys(connection, registered, threading.Event())
        assert build_index(connection, registered, pending_index(declaration))
        connection.execute("VACUUM ANALYZE")
        return registered


def build_search_indexes(dsn: str, registered: Registered) -> None:
    """Encode what is pending, and build the HNSW index and the token index, as `gte-pg sync` does."""
    team = Team(dsn, threading.Event(), lambda _: InstantEncoder())
    with connect(dsn) as connection:
        for _ in sync_once(connection, registered, team):
            pass


def encode_all(dsn: str, registered: Registered) -> None:
    """Encode what is pending; no search index is built."""
    with connect(dsn) as connection:
        for _ in Worker(connection, registered, InstantEncoder(), batch_rows=1_024).rounds():
            pass
