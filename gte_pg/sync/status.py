"""How far the encoding of an embedding is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.sync.claim import find_held
from gte_pg.sync.copy_keys import is_copied
from gte_pg.sync.failures import reading_keys, stands
from gte_pg.sync.planned_rows import planned_rows
from gte_pg.sync.settings import PATIENCE


@dataclass(frozen=True, slots=True)
class Status:
    """Rows of one embedding. `failed`, `parked` and `held` rows are among the pending ones.

    Of a table of more than a million rows `rows` is the planner's estimate, and `encoded` those of them
    that are not pending, with text or without: then `estimated` is true. Rows whose keys are still to be
    copied to a new companion count as pending. `oldest_pending_seconds` is None when nothing is pending;
    rows from before the embedding are pending since it was declared. `rows_per_second` is what all
    workers together have encoded in the last five minutes. Rows that are `held` are in a worker's batch; if
    that worker is gone, others have them from `held_until` on.
    """

    rows: int
    encoded: int
    pending: int
    failed: int
    parked: int
    oldest_pending_seconds: float | None
    rows_per_second: float
    estimated: bool
    held: int
    held_until: datetime | None


# A table of more rows is not read: whoever watches over it asks often.
_MOST_ROWS_COUNTED = 1_000_000

_COUNTED = sql.SQL("""
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE {hash_column} IS NOT NULL AND {pending} IS NULL) AS encoded,
           false AS estimated
    FROM {vectors} AS d""")

_ESTIMATED = sql.SQL("""
    SELECT {planned}::bigint AS rows, greatest(0, {planned} - pending) AS encoded, true AS estimated
    FROM due""")

_STATUS = sql.SQL("""
WITH due AS (
    SELECT count(*) AS pending, min({pending}) AS since FROM {vectors} AS d WHERE {pending} IS NOT NULL
), oldest AS (
    SELECT CASE WHEN copying OR since = '-infinity' THEN created_at ELSE since END AS since
    FROM due LEFT JOIN gte.embedding ON id = %(embedding)s
), counted AS ({counted}
), failed AS (
    SELECT count(f.retry_at) AS failed, count(*) - count(f.retry_at) AS parked
    FROM gte.failure AS f, {vectors} AS d WHERE {stands}
), speed AS (
    -- From the first minute in which there was something to do.
    SELECT coalesce(sum(rows) / extract(epoch FROM now() - min(minute)), 0)::float8 AS rate
    FROM gte.throughput WHERE embedding = %(embedding)s AND minute > now() - interval '5 minutes'
)
SELECT rows, encoded, pending, failed, parked,
       extract(epoch FROM now() - oldest.since)::float8, rate, estimated
FROM counted, due, oldest, failed, speed
""")

_PENDING = sql.SQL("SELECT count(*) FROM {vectors} AS d WHERE {pending} <= %(since)s")

# One message to the server, and one transaction.
_HAS_PENDING = sql.SQL("""
SET LOCAL lock_timeout = {patience};
SELECT EXISTS (SELECT FROM {vectors} AS d WHERE {pending} IS NOT NULL)
""")

# Rows that are still to be copied to a companion are pending since before there was an embedding.
_PENDING_SINCE = sql.SQL("""
SELECT EXISTS (SELECT FROM gte.embedding WHERE id = %(embedding)s AND copying)
    OR EXISTS (SELECT FROM {vectors} AS d WHERE {pending} <= %(moment)s)
""")


def status(connection: Connection, registered: Registered) -> Status:
    """Count the rows of an embedding: the pending ones by their index, all of them up to a million.

    Raises DatabaseError after a change of the primary key, until a sync has forgotten what failed before,
    and psycopg.Error where a row-level policy hides rows from this role.
    """
    declaration = registered.declaration
    names = {
        "hash_column": sql.Identifier("d", declaration.hash_column),
        "pending": _pending(registered),
        "vectors": declaration.vectors,
    }
    with reading_keys(connection, registered):
        planned = planned_rows(connection, declaration.vectors)
        counted = _COUNTED if planned <= _MOST_ROWS_COUNTED else _ESTIMATED
        statement = fill(
            _STATUS,
            **names,
            counted=counted.format(**names, planned=sql.Literal(planned)),
            stands=stands(registered),
        )
        row = connection.execute(statement, {"embedding": registered.id}).fetchone()
        assert row is not None
        held = find_held(connection, registered)
        found = Status(*(*row, held.rows, held.until))
        if is_copied(connection, registered):
            return found
        rows, estimated = planned_rows(connection, declaration.relation), True
        if rows <= _MOST_ROWS_COUNTED:
            count = sql.SQL("SELECT count(*) FROM {}").format(declaration.relation)
            (rows,) = connection.execute(count).fetchone() or (0,)
            estimated = found.estimated
    to_copy = max(0, rows - found.rows)
    pending = found.pending + to_copy
    return replace(
        found,
        rows=found.rows + to_copy,
        pending=pending,
        oldest_pending_seconds=found.oldest_pending_seconds if pending else None,
        estimated=estimated,
    )


def clock(connection: Connection) -> datetime:
    """Return the database's time: rows are pending by it."""
    # As a number: psycopg reads no timestamptz in a session whose DateStyle is not ISO.
    (now,) = connection.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone() or (0,)
    return datetime.fromtimestamp(float(now), UTC)


def count_pending(
    connection: Connection, registered: Registered, *, since: datetime | None = None
) -> int:
    """Count the pending rows, or those since a moment or longer; served by the partial index."""
    return int(_ask(connection, registered, _PENDING, {"since": since or "infinity"}))


def has_pending(connection: Connection, registered: Registered) -> bool:
    """Whether any row is pending; takes a fraction of a millisecond, or a second if the table is locked.

    The connection must be in autocommit: it is a transaction of its own.
    """
    statement = _HAS_PENDING.format(
        patience=PATIENCE, vectors=registered.declaration.vectors, pending=_pending(registered)
    )
    cursor = connection.execute(statement)
    cursor.nextset()
    return cursor.fetchone() == (True,)


def is_pending_since(connection: Connection, registered: Registered, moment: datetime) -> bool:
    """Whether any row is pending that was so at this moment."""
    values = {"embedding": registered.id, "moment": moment}
    return bool(_ask(connection, registered, _PENDING_SINCE, values))


def _ask(
    connection: Connection, registered: Registered, question: sql.SQL, values: dict[str, Any]
) -> Any:
    vectors = registered.declaration.vectors
    statement = fill(question, vectors=vectors, pending=_pending(registered))
    (answer,) = connection.execute(statement, values).fetchone() or (None,)
    return answer


def _pending(registered: Registered) -> sql.Identifier:
    return sql.Identifier("d", registered.declaration.pending_column)
