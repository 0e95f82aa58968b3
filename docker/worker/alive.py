"""Exit code 0 where this container's worker has lately talked to the database, else 1.

A worker that is idle asks for work four times a second. One that encodes is silent for as long as a
batch takes, which on a slow machine with long texts is minutes; one that builds an index is active.
"""

from __future__ import annotations

import os
import sys

import psycopg

_SILENT_SECONDS = 600

# A container has an address of its own, so other containers' workers are not counted.
_HEARD_OF = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'gte-pg' AND pid <> pg_backend_pid() AND datname = current_database()
    AND client_addr IS NOT DISTINCT FROM inet_client_addr()
    AND (state = 'active' OR state_change > now() - make_interval(secs => %s))
"""


def is_alive(dsn: str, silent_seconds: float = _SILENT_SECONDS) -> bool:
    """Whether a worker has talked to the database within so many seconds."""
    with psycopg.connect(dsn, connect_timeout=5, application_name="gte-pg-alive") as connection:
        row = connection.execute(_HEARD_OF, (silent_seconds,)).fetchone()
        return row is not None and row[0] > 0


if __name__ == "__main__":
    try:
        sys.exit(not is_alive(os.environ["GTE_PG_DSN"], *map(float, sys.argv[1:])))
    except psycopg.Error as error:
        sys.exit(f"the database does not answer: {error}")
