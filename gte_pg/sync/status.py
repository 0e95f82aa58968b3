"""How far the encoding of an embedding is."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import key_join, row_hash


@dataclass(frozen=True, slots=True)
class Status:
    """Rows of one embedding. `failed` and `parked` rows are among the pending ones.

    `oldest_pending_seconds` is None when nothing is pending, or for rows from before the embedding.
    """

    rows: int
    encoded: int
    pending: int
    failed: int
    parked: int
    oldest_pending_seconds: float | None


# A failure counts while the row still has the text that failed.
_STATUS = sql.SQL("""
WITH counted AS (
    SELECT count(*) AS rows, count({hash_column}) AS encoded, count({pending}) AS pending,
           extract(epoch FROM now() - min({pending}) FILTER (WHERE isfinite({pending})))::float8 AS oldest
    FROM {relation} AS d
), failed AS (
    SELECT count(f.retry_at) AS failed, count(*) - count(f.retry_at) AS parked
    FROM gte.failure AS f JOIN {relation} AS d ON {join}
    WHERE f.embedding = %s AND {pending} IS NOT NULL AND f.hash = {hash}
)
SELECT rows, encoded, pending, failed, parked, oldest FROM counted, failed
""")

_PENDING = sql.SQL("SELECT count(*) FROM {relation} AS d WHERE {pending} IS NOT NULL")


def status(connection: Connection, registered: Registered) -> Status:
    """Count the rows of an embedding; reads the whole table."""
    declaration = registered.declaration
    statement = fill(
        _STATUS,
        hash_column=sql.Identifier("d", declaration.hash_column),
        pending=sql.Identifier("d", declaration.pending_column),
        relation=declaration.relation,
        join=key_join(declaration, "d", sql.Identifier("f", "key")),
        hash=row_hash(declaration, "d"),
    )
    row = connection.execute(statement, (registered.id,)).fetchone()
    assert row is not None
    return Status(*row)


def count_pending(connection: Connection, registered: Registered) -> int:
    """Count the pending rows; served by the partial index."""
    declaration = registered.declaration
    statement = _PENDING.format(
        relation=declaration.relation,
        pending=sql.Identifier("d", declaration.pending_column),
    )
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])
