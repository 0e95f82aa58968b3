"""How common each key of the token index is: what a query's budget is reckoned with."""

from __future__ import annotations

import logging
import random

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.sync.planned_rows import planned_rows
from gte_pg.sync.settings import impatient

logger = logging.getLogger(__name__)

# A sample of so many rows is enough to tell the common keys from the rare ones, which is all that
# matters: a key that the sample lacks is rare.
_SAMPLE_ROWS = 20_000

# In the order of the keys two that count at once do not deadlock.
_REFRESH = sql.SQL("""
INSERT INTO gte.key_frequency (embedding, key, rows)
SELECT %(embedding)s, counted.key, count(*) * %(scale)s::float8
FROM {vectors} AS d TABLESAMPLE SYSTEM (%(percent)s)
CROSS JOIN LATERAL unnest(gte.sparse_keys({sparse}, %(step)s::real)) AS counted (key)
GROUP BY counted.key
HAVING count(*) > 1
ORDER BY counted.key
ON CONFLICT (embedding, key) DO UPDATE SET rows = excluded.rows
""")


# They are counted anew for every so many-th part of the table that is new.
_PART = 20


def is_due(connection: Connection, registered: Registered, new_rows: int) -> bool:
    """Whether to count the keys anew after so many new vectors.

    Drawn by lot, once for a twentieth of the table on average: nobody has to keep count, neither many
    workers of one another's rows, nor a sync that is run every minute of those before.
    """
    rows = planned_rows(connection, registered.declaration.vectors)
    return random.random() * rows < new_rows * _PART  # noqa: S311 - nobody's secret


def refresh_key_frequencies(connection: Connection, registered: Registered) -> None:
    """Count the keys anew, from a sample of a large table. Takes about a second; locks nothing.

    Where somebody else is counting them, or has the table for itself, it is left at that.
    """
    if not registered.declaration.has_sparse:
        return
    try:
        # A limit on statements is meant for an application's.
        with impatient(connection):
            _refresh(connection, registered)
    except psycopg.errors.LockNotAvailable:
        logger.info("%s: another counts the keys, or has the table locked", registered)


def _refresh(connection: Connection, registered: Registered) -> None:
    declaration = registered.declaration
    sparse = sql.Identifier("d", declaration.sparse_column)
    filled = sql.SQL("{} IS NOT NULL").format(sparse)
    rows = planned_rows(connection, declaration.vectors, filled)
    share = min(1.0, _SAMPLE_ROWS / max(rows, 1))
    values = {
        "embedding": registered.id,
        "percent": 100 * share,
        "scale": 1 / share,
        "step": declaration.impact_step,
    }
    connection.execute("DELETE FROM gte.key_frequency WHERE embedding = %s", (registered.id,))
    connection.execute(fill(_REFRESH, vectors=declaration.vectors, sparse=sparse), values)
