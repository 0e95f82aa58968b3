"""Claim: a worker takes a batch of pending rows for itself, for a while.

A lease is one row for the whole batch. Nothing on the user's table is locked: the advisory lock
below is held for milliseconds while the batch is picked, never while it is encoded. A worker that
dies leaves its lease behind, and whoever comes next takes it over when it has run out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import key_join, key_text, key_values
from gte_pg.sync.failures import reading_keys
from gte_pg.sync.settings import PATIENCE, impatient, walking
from gte_pg.sync.versions import mark
from gte_pg.sync.walk import EVER, Walk, Walks

# A lease that ran out this often is split in halves, so that one deadly row ends up alone.
_SPLIT_AFTER = 2

# Every so many batches one takes the oldest rows first, so that fresh rows cannot starve a backfill.
_OLDEST_EVERY = 8

# One key class for the advisory locks of all embeddings: "gte-pg" in ASCII, then the embedding's id.
_LOCK_CLASS = int.from_bytes(b"gte-pg") << 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that this worker may encode until the lease runs out, by their key text.

    `attempts` counts the workers that have held this lease, this one included. `oldest`: these are the
    rows that have been pending for longest, of those that can be claimed.
    """

    lease: int
    keys: list[str]
    attempts: int
    oldest: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """Pending rows in leases that have not run out: `owners` are their workers, as host:pid.

    All of them come back `until` then, if none of these workers goes on; None: there are none.
    """

    rows: int
    owners: list[str]
    until: datetime | None


# Who has it walks over the work list, which may take longer than one waits for a table.
_LOCK = sql.SQL("""
SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({key}); SET LOCAL lock_timeout = {patience}
""")

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

# Whoever takes a lease over counts one attempt more: it is another's then.
_RENEW = """
UPDATE gte.lease SET until = now() + %(duration)s WHERE id = %(lease)s AND attempts = %(attempts)s
"""

_RELEASE = "DELETE FROM gte.lease WHERE id = %s AND attempts = %s"

# Pending rows in the order of the partial index on `pending`, less those that are in somebody's
# lease and those whose present text has failed and is not to be retried yet.
_PICK = sql.SQL("""
WITH last AS (
    SELECT %(pending)s::timestamptz AS pending, %(last_key)s::text AS key,
           %(since)s::timestamptz AS since, %(until)s::timestamptz AS until
), picked AS MATERIALIZED (
    SELECT {key} AS key, {pending}::text AS pending
    FROM {vectors} AS d
    WHERE {pending} IS NOT NULL AND {ahead}
      AND {key} <> ALL (
          ARRAY(SELECT unnest(keys) FROM gte.lease WHERE embedding = %(embedding)s)
      )
      AND NOT EXISTS (
          SELECT FROM gte.failure f
          WHERE f.embedding = %(embedding)s AND f.key = {key} AND f.hash = {mark}
            AND (f.retry_at IS NULL OR f.retry_at > now())
      )
    ORDER BY {order}
    LIMIT %(rows)s
), leased AS (
    INSERT INTO gte.lease (embedding, owner, until, keys)
    SELECT %(embedding)s, %(owner)s, now() + %(duration)s, array_agg(key) FROM picked
    HAVING count(*) > 0
    RETURNING id, keys
)
SELECT id, keys, (SELECT (array_agg(pending))[count(*)] FROM picked) FROM leased
""")

# By the keys of the leases, which are few: the pending rows may be millions.
_HELD = sql.SQL("""
SELECT count(*), array_agg(DISTINCT l.owner), extract(epoch FROM max(l.until))::float8
FROM gte.lease AS l, unnest(l.keys) AS leased (key), {vectors} AS d
WHERE l.embedding = %(embedding)s AND l.until > now() AND {join} AND {pending} <= %(since)s
""")


def find_held(
    connection: Connection, registered: Registered, *, since: datetime | None = None
) -> Held:
    """Find the pending rows, or those since a moment or longer, that workers hold; raises as `status`."""
    declaration = registered.declaration
    statement = fill(
        _HELD,
        vectors=declaration.vectors,
        join=key_join(declaration, "d", sql.Identifier("leased", "key")),
        pending=sql.Identifier("d", declaration.pending_column),
    )
    values = {"embedding": registered.id, "since": since or "infinity"}
    with reading_keys(connection, registered):
        rows, owners, until = connection.execute(statement, values).fetchone() or (0, None, None)
    # A number: psycopg reads no timestamptz in a session whose DateStyle is not ISO.
    return Held(rows, owners or [], until and datetime.fromtimestamp(until, UTC))


class Claims:
    """The batches that one worker claims of one embedding.

    Newest rows come first, so that a backfill does not delay fresh ones; every eighth batch takes
    the oldest, so that fresh rows do not delay the backfill for ever. Who works `until` a moment of the
    database's clock is done when none can be claimed that is pending since before. `walks` are those of the
    worker before.
    """

    def __init__(
        self,
        connection: Connection,
        registered: Registered,
        *,
        owner: str,
        lease: timedelta,
        until: datetime | None = None,
        walks: Walks | None = None,
    ) -> None:
        self._connection = connection
        self._registered = registered
        self._values: dict[str, Any] = {
            "embedding": registered.id,
            "owner": owner,
            "duration": lease,
            "until": until or "infinity",
        }
        self._lock_key = _LOCK_CLASS | registered.id
        self._renew_at = 0.0
        walks = Walks() if walks is None else walks
        self._newest, self._oldest = walks.newest, walks.oldest
        self._count = 0

    def claim(self, rows: int) -> Batch | None:
        """Take over a lease that ran out, else lease up to `rows` pending rows; None if all is done.

        One short transaction.
        """
        self._count += 1
        self._renew_at = time.monotonic() + self._values["duration"].total_seconds() / 4
        walks = [self._newest, self._oldest]
        if self._count % _OLDEST_EVERY == 0:
            walks.remove(self._newest)
        with walking(self._connection, self._registered.declaration):
            self._connection.execute(_LOCK.format(key=self._lock_key, patience=PATIENCE))
            found = self._connection.execute(_TAKE_OVER, self._values).fetchone()
            if found is not None:
                return self._halved(Batch(*found))
            for walk in walks:
                batch = self._next(walk, rows)
                if batch is not None:
                    return batch
        return None

    def statement(self) -> sql.Composed:
        """Return the statement that leases the newest pending rows."""
        return self._statement(self._newest)

    def keep(self, batch: Batch) -> bool:
        """Renew the lease once a quarter of it has gone; False: another worker has taken it over."""
        if time.monotonic() < self._renew_at:
            return True
        values = self._values | {"lease": batch.lease, "attempts": batch.attempts}
        with impatient(self._connection):
            renewed = self._connection.execute(_RENEW, values).rowcount
        if not renewed:
            return False
        self._renew_at = time.monotonic() + self._values["duration"].total_seconds() / 4
        return True

    def pass_by(self, seconds: float) -> None:
        """Take the oldest rows from behind those that were claimed last, which others hold."""
        self._oldest.go_on(seconds)

    def release(self, batch: Batch, connection: Connection | None = None) -> None:
        """Give the lease back; rows of it that are still pending can be claimed again.

        By another connection, if the one that it was claimed by is lost.
        """
        asked = self._connection if connection is None else connection
        asked.execute(_RELEASE, (batch.lease, batch.attempts))

    def _next(self, walk: Walk, rows: int) -> Batch | None:
        walk.begin_if_due()
        if walk.position is not None:
            batch = self._pick(walk, rows)
            if batch is not None:
                return batch
            walk.position = None
        begun = time.monotonic()
        batch = self._pick(walk, rows)
        if walk.since == EVER:
            walk.begun(time.monotonic() - begun)
            if batch is None:
                # As old as this transaction: what it has not seen is younger, or was committed late.
                (walk.since,) = self._connection.execute("SELECT now()::text").fetchone() or (EVER,)
        return batch

    def _pick(self, walk: Walk, rows: int) -> Batch | None:
        pending, last_key = walk.position or (None, None)
        values = self._values | {"rows": rows, "since": walk.since}
        values |= {"pending": pending, "last_key": last_key}
        found = self._connection.execute(self._statement(walk), values).fetchone()
        if found is None:
            return None
        lease, keys, pending = found
        walk.position = (pending, keys[-1])
        return Batch(lease, keys, 1, oldest=walk is self._oldest)

    def _statement(self, walk: Walk) -> sql.Composed:
        declaration = self._registered.declaration
        newest = walk.direction == "newest"
        columns = [
            sql.Identifier("d", name)
            for name in (declaration.pending_column, *(column.name for column in declaration.key))
        ]
        # The rows of a backfill are pending since '-infinity': they are the oldest walk's alone.
        ahead = "{pending} >= (SELECT since FROM last) AND "
        ahead += "{pending} > '-infinity'" if newest else "{pending} <= (SELECT until FROM last)"
        if walk.position is not None:
            ahead += " AND ({columns}) {beyond} ((SELECT pending FROM last), {key})"
        last_key = key_values(declaration, sql.SQL("(SELECT key FROM last)"))
        direction = sql.SQL(" DESC" if newest else " ASC")
        return fill(
            _PICK,
            key=key_text(declaration, "d"),
            vectors=declaration.vectors,
            pending=columns[0],
            ahead=sql.SQL(ahead).format(
                pending=columns[0],
                columns=sql.SQL(", ").join(columns),
                beyond=sql.SQL("<" if newest else ">"),
                key=sql.SQL(", ").join(last_key),
            ),
            mark=mark(declaration),
            order=sql.SQL(", ").join(column + direction for column in columns),
        )

    def _halved(self, batch: Batch) -> Batch:
        if batch.attempts <= _SPLIT_AFTER or len(batch.keys) == 1:
            return batch
        middle = len(batch.keys) // 2
        values = {
            "lease": batch.lease,
            "middle": middle,
            "rest": batch.keys[middle:],
            "attempts": batch.attempts - 1,
        }
        self._connection.execute(_SPLIT, values)
        return Batch(batch.lease, batch.keys[:middle], batch.attempts)
