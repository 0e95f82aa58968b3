"""How common each key of the token index is: what a query's budget is reckoned with."""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection, Registered, fill

# A sample of so many rows is enough to tell the common keys from the rare ones, which is all that
# matters: a key that the sample lacks is rare.
_SAMPLE_ROWS = 20_000

_COUNT = sql.SQL("SELECT count(*) FROM {vectors} WHERE {sparse} IS NOT NULL")

# Two workers may count at once: in the order of the keys they wait for each other, and do not deadlock.
_REFRESH = sql.SQL("""
INSERT INTO gte.key_frequency (embedding, key, rows)
SELECT %(embedding)s, key, count(*) * %(scale)s::float8
FROM {vectors} AS d TABLESAMPLE SYSTEM (%(percent)s)
CROSS JOIN LATERAL unnest(gte.sparse_keys({sparse}, %(step)s::real)) AS key
GROUP BY key
HAVING count(*) > 1
ORDER BY key
ON CONFLICT (embedding, key) DO UPDATE SET rows = excluded.rows
""")


def refresh_key_frequencies(connection: Connection, registered: Registered) -> None:
    """Count the keys anew, from a sample of a large table. Takes about a second; locks nothing."""
    declaration = registered.declaration
    if not declaration.has_sparse:
        return
    names = {
        "vectors": declaration.vectors,
        "sparse": sql.Identifier(declaration.sparse_column),
    }
    with connection.transaction():
        (rows,) = connection.execute(_COUNT.format(**names)).fetchone() or (0,)
        share = min(1.0, _SAMPLE_ROWS / max(rows, 1))
        values = {
            "embedding": registered.id,
            "percent": 100 * share,
            "scale": 1 / share,
            "step": declaration.impact_step,
        }
        connection.execute("DELETE FROM gte.key_frequency WHERE embedding = %s", (registered.id,))
        connection.execute(fill(_REFRESH, **names), values)
