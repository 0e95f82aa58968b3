"""The statements that a worker runs, for a person to read."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.sync.claim import Claims
from gte_pg.sync.rows import Rows
from gte_pg.sync.search_indexes import missing_search_indexes


def worker_statements(connection: Connection, registered: Registered) -> dict[str, sql.Composable]:
    """Return by what they are for, in their order, the statements that `gte-pg sync` would run.

    Values are placeholders, `%(name)s`: a worker binds them for each batch.
    """
    claims = Claims(connection, registered, owner="", lease=timedelta())
    declaration = registered.declaration
    missing = missing_search_indexes(connection, declaration)
    return {
        "claim a batch of pending rows": claims.statement(),
        **Rows(connection, registered.declaration).statements(),
        **{f"build the index {index.name}": index.create(declaration) for index in missing},
    }
