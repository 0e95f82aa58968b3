"""Copy the keys of a table that had rows to its new companion, where that makes them pending.

From the least to the greatest, in short transactions that lock nothing of the table: nobody waits for
long, however many rows there are, and whoever comes next goes on where another stopped. Rows that are
written meanwhile come by the triggers, which were there before the first key was read. Where a row is
deleted in the moment that its key is copied, the companion row stays behind: it is pending, and the
worker that looks for its text takes it away.
"""

from __future__ import annotations

import threading

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import key_order, key_text, key_values
from gte_pg.errors import DatabaseError
from gte_pg.sync.settings import WRITE_KEYS, looking_up

# About 50 ms: so long an application's change of a text among them waits, if it comes at the wrong moment.
_MOST_ROWS = 4_000

# Two that wait for each other's rows are a deadlock, after `deadlock_timeout`: before that, this one lets
# go of its rows. With one row it holds nothing that anybody waits for.
_PATIENCE = "100ms"

_COPIED_TO = "SELECT copied_to FROM gte.embedding WHERE id = %s AND copying"

_COPY = sql.SQL("""
WITH last AS (
    SELECT %(after)s::text AS key
), next AS MATERIALIZED (
    SELECT {s_columns}, {key} AS gte_key FROM {relation} AS s
    WHERE {beyond} ORDER BY {s_columns} LIMIT %(rows)s
), copied AS (
    INSERT INTO {vectors} ({columns}, {pending}) SELECT {columns}, '-infinity' FROM next
    ON CONFLICT DO NOTHING
)
SELECT (array_agg(gte_key))[count(*)], count(*) FROM next
""")

_NOTE = "UPDATE gte.embedding SET copied_to = %s, copying = %s WHERE id = %s"


def is_copied(connection: Connection, registered: Registered) -> bool:
    """Whether every row of the table has its companion row; always so where there is no companion."""
    if registered.declaration.companion is None:
        return True
    return connection.execute(_COPIED_TO, (registered.id,)).fetchone() is None


def copy_keys(connection: Connection, registered: Registered, stop: threading.Event) -> bool:
    """Copy the keys that are still to be copied; a few seconds a million rows. Ends early by `stop`.

    False: somebody has written the next row and not committed yet; it takes another call. Raises
    DatabaseError where this role may not write to the companion.
    """
    rows = _MOST_ROWS
    while not is_copied(connection, registered):
        if stop.is_set():
            return False
        try:
            _copy_some(connection, registered, rows)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if rows == 1:
                return False
            rows = max(1, rows // 8)
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(
                f"the keys of {registered.declaration.written} are still to be copied to its companion, "
                f"which this role may not do ({str(error).strip()}): run gte-pg sync once as the owner of "
                "the table or, where row-level security holds for the owner too, as a role with BYPASSRLS "
                f"that may insert into {registered.declaration.vectors.as_string()}"
            ) from error
        else:
            rows = min(rows * 2, _MOST_ROWS)
    return True


def _copy_some(connection: Connection, registered: Registered, rows: int) -> None:
    with looking_up(connection, registered.declaration, lock_timeout=_PATIENCE, **WRITE_KEYS):
        # Copiers take turns.
        turn = f"{_COPIED_TO} FOR NO KEY UPDATE".encode()
        for (after,) in connection.execute(turn, (registered.id,)).fetchall():
            copied = connection.execute(
                copy_statement(registered, after), {"rows": rows, "after": after}
            )
            for last, count in copied.fetchall():
                connection.execute(_NOTE, (last if count else after, count == rows, registered.id))


def copy_statement(registered: Registered, after: str | None = None) -> sql.Composed:
    """Return the statement that copies the next keys after one, by its text; None: the first ones."""
    declaration = registered.declaration
    columns = key_order(declaration, "s")
    last = key_values(declaration, sql.SQL("(SELECT key FROM last)"))
    beyond = sql.SQL("({}) > ({})").format(columns, sql.SQL(", ").join(last))
    return fill(
        _COPY,
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in declaration.key),
        s_columns=columns,
        key=key_text(declaration, "s"),
        relation=declaration.relation,
        vectors=declaration.vectors,
        pending=sql.Identifier(declaration.pending_column),
        beyond=beyond if after is not None else sql.SQL("true"),
    )
