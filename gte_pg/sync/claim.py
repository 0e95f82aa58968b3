"""Claim: a worker takes a batch of pending rows for itself, for a while.

A lease is one row for the whole batch. Nothing on the user's table is locked: the advisory lock
below is held for milliseconds while the batch is picked, never while it is encoded. A worker that
dies leaves its lease behind, and whoever comes next takes it over when it has run out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import key_text, row_hash

# A lease that ran out this often is split in halves, so that one deadly row ends up alone.
_SPLIT_AFTER = 2

# One key class for the advisory locks of all embeddings: "gte-pg" in ASCII, then the embedding's id.
_LOCK_CLASS = int.from_bytes(b"gte-pg") << 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that this worker may encode until the lease runs out, by their key text.

    `attempts` counts the workers that have held this lease, this one included.
    """

    lease: int
    keys: list[str]
    attempts: int


_LOCK = "SELECT pg_advisory_xact_lock(%s)"

# The lease that ran out first; served by lease_embedding.
_TAKE_OVER = """
UPDATE gte.lease SET owner = %(owner)s, until = now() + %(duration)s, attempts = attempts + 1
WHERE id = (
    SELECT id FROM gte.lease
    WHERE embedding = %(embedding)s AND until < now() ORDER BY until LIMIT 1
)
RETURNING id, keys, attempts
"""

# The later half of a lease becomes a lease of its own that has already run out.
_SPLIT = """
WITH halved AS (
    UPDATE gte.lease SET keys = keys[:%(middle)s] WHERE id = %(lease)s RETURNING embedding, owner
)
INSERT INTO gte.lease (embedding, owner, until, attempts, keys)
SELECT embedding, owner, '-infinity', %(attempts)s, %(rest)s FROM halved
"""

# Pending rows in the order of the partial index on `pending`, less those that are in somebody's
# lease and those whose present text has failed and is not to be retried yet.
_PICK = sql.SQL("""
INSERT INTO gte.lease (embedding, owner, until, keys)
SELECT %(embedding)s, %(owner)s, now() + %(duration)s, array_agg(key)
FROM (
    SELECT {key} AS key
    FROM {relation} AS d
    WHERE {pending} IS NOT NULL
      AND {key} <> ALL (
          ARRAY(SELECT unnest(keys) FROM gte.lease WHERE embedding = %(embedding)s)
      )
      AND NOT EXISTS (
          SELECT FROM gte.failure f
          WHERE f.embedding = %(embedding)s AND f.key = {key} AND f.hash = {hash}
            AND (f.retry_at IS NULL OR f.retry_at > now())
      )
    ORDER BY {order}
    LIMIT %(rows)s
) AS picked
HAVING count(*) > 0
RETURNING id, keys, attempts
""")

# Without statistics the planner would rather sort the whole table than walk the partial index.
_PIN_PLAN = """
SELECT set_config(name, 'off', true)
FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_sort']) AS name
"""


def claim(
    connection: Connection,
    registered: Registered,
    *,
    owner: str,
    rows: int,
    duration: timedelta,
    oldest_first: bool = False,
) -> Batch | None:
    """Take over a lease that ran out, else lease up to `rows` pending rows; None if there are none.

    Newest rows come first, so that a backfill does not delay fresh ones; `oldest_first` now and then
    keeps fresh rows from delaying the backfill for ever. One short transaction.
    """
    values = {
        "embedding": registered.id,
        "owner": owner,
        "duration": duration,
        "rows": rows,
    }
    with connection.transaction():
        connection.execute(_LOCK, (_LOCK_CLASS | registered.id,))
        found = connection.execute(_TAKE_OVER, values).fetchone()
        if found is not None:
            return _halve(connection, Batch(*found))
        connection.execute(_PIN_PLAN)
        found = connection.execute(_pick(registered, oldest_first), values).fetchone()
        return Batch(*found) if found is not None else None


def release(connection: Connection, batch: Batch) -> None:
    """Give the lease back; rows of it that are still pending can be claimed again."""
    connection.execute("DELETE FROM gte.lease WHERE id = %s", (batch.lease,))


def _pick(registered: Registered, oldest_first: bool) -> sql.Composed:
    declaration = registered.declaration
    direction = sql.SQL(" ASC" if oldest_first else " DESC")
    pending = sql.Identifier("d", declaration.pending_column)
    order = [pending, *(sql.Identifier("d", column.name) for column in declaration.key)]
    return fill(
        _PICK,
        key=key_text(declaration, "d"),
        relation=declaration.relation,
        pending=pending,
        hash=row_hash(declaration, "d"),
        order=sql.SQL(", ").join(column + direction for column in order),
    )


def _halve(connection: Connection, batch: Batch) -> Batch:
    if batch.attempts <= _SPLIT_AFTER or len(batch.keys) == 1:
        return batch
    middle = len(batch.keys) // 2
    values = {
        "lease": batch.lease,
        "middle": middle,
        "rest": batch.keys[middle:],
        "attempts": batch.attempts - 1,
    }
    connection.execute(_SPLIT, values)
    return Batch(batch.lease, batch.keys[:middle], batch.attempts)
