"""How far the encoding of an embedding is."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import key_text, row_hash


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


_STATUS = sql.SQL("""
SELECT count(*),
       count({hash_column}),
       count({pending}),
       count({pending}) FILTER (WHERE f.retry_at IS NOT NULL),
       count({pending}) FILTER (WHERE f.key IS NOT NULL AND f.retry_at IS NULL),
       extract(epoch FROM now() - min({pending}) FILTER (WHERE isfinite({pending})))::float8
FROM {relation} AS d
LEFT JOIN gte.failure AS f ON f.embedding = %s AND f.key = {key} AND f.hash = {hash}
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
        key=key_text(declaration, "d"),
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
