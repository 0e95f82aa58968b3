"""Wait until what was committed before is searchable."""

from __future__ import annotations

import time

import psycopg
from psycopg.pq import TransactionStatus

from gte_pg.database import Connection, load_all
from gte_pg.errors import DatabaseError
from gte_pg.sync.status import clock, is_pending_since

_POLL_SECONDS = 0.05


def wait_until_synced(connection: Connection, table: str, *, timeout: float = 60.0) -> bool:
    """Wait until every row of `table` that is pending now has its vector, in all its embeddings.

    Then what the caller has committed before is searchable: a worker (`gte-pg sync --watch`) must be
    running somewhere. Blocks for at most `timeout` seconds, a minute if nothing is said, and returns
    False if that did not come about, as where a row is parked (see `gte-pg status`). It asks by short
    statements and keeps no transaction open, unless `connection` is in one; raises DatabaseError if that
    one is REPEATABLE READ or SERIALIZABLE, which sees nothing of what the workers commit.

    `connection` is psycopg's. SQLAlchemy has one too, in a transaction of its own from then on:
    `session.connection().connection.driver_connection`.

        >>> wait_until_synced(connection, "articles", timeout=10)
        True
    """
    if not isinstance(connection, psycopg.Connection):
        kind = f"{type(connection).__module__.partition('.')[0]}'s {type(connection).__name__}"
        raise DatabaseError(
            f"wait_until_synced wants psycopg's Connection, not {kind}. Commit what you have written, and "
            "give it one of psycopg.connect(…, autocommit=True), or SQLAlchemy's own, which is in a "
            "transaction from then on: session.connection().connection.driver_connection"
        )
    embeddings = [one for one in load_all(connection, table) if not one.standby]
    if not embeddings:
        raise DatabaseError(f"the table {table} has no embedding: there is nothing to wait for")
    called = clock(connection)
    deadline = time.monotonic() + timeout
    while any(is_pending_since(connection, one, called) for one in embeddings):
        _check_isolation(connection)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _check_isolation(connection: Connection) -> None:
    if connection.info.transaction_status == TransactionStatus.IDLE:
        return
    (isolation,) = connection.execute("SHOW transaction_isolation").fetchone() or ("",)
    if isolation in ("repeatable read", "serializable"):
        raise DatabaseError(
            f"a {isolation} transaction cannot wait for workers: it does not see what they commit. Commit "
            "first, and wait outside of it"
        )
