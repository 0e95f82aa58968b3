"""What the building of an index, and ANALYZE, need of their session: time and memory.

They cannot be in a transaction, or should not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gte_pg.database import Connection, is_pooled

# A role's limits are meant for an application's statements; an index of a large table takes longer, and one
# that was cancelled has to begin again. (`transaction_timeout` came with Postgres 17.)
_LIMITS = ["statement_timeout", "lock_timeout", "transaction_timeout", "idle_session_timeout"]

# A graph that does not fit in memory builds many times slower.
_LEAST_MEMORY = "512MB"

_BEFORE = """
SELECT name, current_setting(name) FROM pg_settings
WHERE name = ANY (%(limits)s)
   OR name = 'maintenance_work_mem' AND pg_size_bytes(current_setting(name)) < pg_size_bytes(%(memory)s)
"""

_SET = "SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS wanted (name, value)"


@contextmanager
def unhurried(connection: Connection, *, lock_timeout: str = "0") -> Iterator[None]:
    """Lift the session's limits, or set that on locks, and give it memory for as long as the context lasts.

    Through a pooler nothing is set: it would be set in a session that is somebody else's the next moment.
    """
    if is_pooled(connection):
        yield
        return
    values = {"limits": _LIMITS, "memory": _LEAST_MEMORY}
    before: dict[str, str] = dict(connection.execute(_BEFORE, values).fetchall())
    special = {"lock_timeout": lock_timeout, "maintenance_work_mem": _LEAST_MEMORY}
    connection.execute(_SET, (list(before), [special.get(name, "0") for name in before]))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute(_SET, (list(before), list(before.values())))
