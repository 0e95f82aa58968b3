"""How many rows were encoded in each minute of the last hour: `gte-pg status` shows the rate."""

from __future__ import annotations

from gte_pg.database import Connection, Registered

_COUNT = """
INSERT INTO gte.throughput AS t (embedding, minute, rows)
VALUES (%(embedding)s, date_trunc('minute', now()), %(rows)s)
ON CONFLICT (embedding, minute) DO UPDATE SET rows = t.rows + excluded.rows
RETURNING xmax = 0
"""

_FORGET = """
DELETE FROM gte.throughput WHERE embedding = %(embedding)s AND minute < now() - interval '1 hour'
"""


def count_encoded(connection: Connection, registered: Registered, rows: int) -> None:
    """Add to the count of this minute; the first to do so in a minute forgets what is over an hour old."""
    if not rows:
        return
    values = {"embedding": registered.id, "rows": rows}
    (is_first,) = connection.execute(_COUNT, values).fetchone() or (False,)
    if is_first:
        connection.execute(_FORGET, values)
