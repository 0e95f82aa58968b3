"""Wait until what was committed before is searchable."""

from __future__ import annotations

import time

import psycopg
import sqlalchemy as sa
from psycopg.pq import TransactionStatus
from sqlalchemy.orm import Session

from gte_pg.database import Connection, load_all
from gte_pg.errors import DatabaseError
from gte_pg.sync.status import clock, is_pending_since

_POLL_SECONDS = 0.05


def wait_until_synced(
    connection: Connection | sa.Connection | Session, table: str, *, timeout: float = 60.0
) -> bool:
    """Wait until every row of `table` that is pending now has its vector, in all its embeddings.

    Then what the caller has committed before is searchable: a worker (`gte-pg sync --watch`) must be
    running somewhere. Blocks for at most `timeout` seconds, a minute if nothing is said, and returns
    False if that did not come about, as where a row is parked (see `gte-pg status`). It asks by short
    statements and keeps no transaction open, unless `connection` is in one; raises DatabaseError if that
    one is REPEATABLE READ or SERIALIZABLE, which sees nothing of what the workers commit.

    `connection` is psycopg's, or a Session or Connection of SQLAlchemy on psycopg, which is in a
    transaction from then on.

        >>> wait_until_synced(connection, "articles", timeout=10)
        True
    """
    plain = _of_psycopg(connection)
    embeddings = [one for one in load_all(plain, table) if not one.standby]
    if not embeddings:
        raise DatabaseError(f"the table {table} has no embedding: there is nothing to wait for")
    called = clock(plain)
    deadline = time.monotonic() + timeout
    while any(is_pending_since(plain, one, called) for one in embeddings):
        _check_isolation(plain)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _of_psycopg(connection: object) -> Connection:
    """Return psycopg's connection, which SQLAlchemy's has beneath it."""
    if isinstance(connection, Session):
        connection = connection.connection()
    if isinstance(connection, sa.Connection):
        if not connection.in_transaction():
            # So that it ends the transaction that psycopg is in from now on.
            connection.begin()
        connection = connection.connection.driver_connection
    if not isinstance(connection, psycopg.Connection):
        kind = f"{type(connection).__module__.partition('.')[0]}'s {type(connection).__name__}"
        raise DatabaseError(
            "wait_until_synced wants psycopg's Connection, or SQLAlchemy's Session or Connection on it, "
            f"not {kind}. Commit what you have written, and give it one of "
            "psycopg.connect(…, autocommit=True)"
        )
    return connection


def _check_isolation(connection: Connection) -> None:
    if connection.info.transaction_status == TransactionStatus.IDLE:
        return
    (isolation,) = connection.execute("SHOW transaction_isolation").fetchone() or ("",)
    if isolation in ("repeatable read", "serializable"):
        raise DatabaseError(
            f"a {isolation} transaction cannot wait for workers: it does not see what they commit. Commit "
            "first, and wait outside of it"
        )
