"""The statements that a worker runs, for a person to read."""

from __future__ import annotations

from datetime import timedelta

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, Index, pending_index
from gte_pg.sync.claim import Claims
from gte_pg.sync.copy_keys import copy_statement, is_copied
from gte_pg.sync.indexes import is_missing, missing_search_indexes
from gte_pg.sync.rows import Rows


def worker_statements(connection: Connection, registered: Registered) -> dict[str, sql.Composable]:
    """Return by what they are for, in their order, the statements that `gte-pg sync` would run.

    Values are placeholders, `%(name)s`: a worker binds them for each batch.
    """
    claims = Claims(connection, registered, owner="", lease=timedelta())
    declaration = registered.declaration
    missing = missing_search_indexes(connection, declaration)
    queue = [pending_index(declaration)]
    copying = {} if is_copied(connection, registered) else {"copy keys": copy_statement(registered)}
    return {
        **copying,
        **_builds(declaration, [one for one in queue if is_missing(connection, declaration, one)]),
        "claim a batch of pending rows": claims.statement(),
        **Rows(connection, registered).statements(),
        **_builds(declaration, missing),
    }


def _builds(declaration: Declaration, indexes: list[Index]) -> dict[str, sql.Composable]:
    return {
        f"build the index {index.name}": index.create(declaration, concurrently=True)
        for index in indexes
    }
