"""Repair: make whole what the check finds broken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, fill
from gte_pg.declaration import (
    WRITE_BACK_SETTING,
    Declaration,
    key_join,
    row_is_empty,
    same_key,
    text_row,
)
from gte_pg.errors import DatabaseError
from gte_pg.sync.check import broken_keys, check_statements, row_is_broken
from gte_pg.sync.giving_way import briefly
from gte_pg.sync.refusals import Refusal, Written, write_apart
from gte_pg.sync.settings import looking_up
from gte_pg.sync.triggers import make_triggers, missing_triggers, trigger_statements

_ROWS_PER_TRANSACTION = 1_000

# Rows that others hold are waited for, in the end one by one: who waits for long must not hold any.
_PATIENCE = "100ms"

# The triggers do the rest: they take the vector away, or leave a row without text alone.
_MEND_ROW = sql.SQL("""
UPDATE {vectors} AS d SET {clear}, {pending_name} = CASE WHEN {empty} THEN NULL::timestamptz ELSE now() END
FROM unnest(%(keys)s::text[]) AS broken (key) WHERE {join} AND {broken}
""")

_MEND_COMPANION = sql.SQL("""
UPDATE {vectors} AS d
SET {clear}, {pending_name} = CASE WHEN {empty} THEN NULL::timestamptz ELSE now() END,
    {version} = d.{version} + 1
FROM unnest(%(keys)s::text[]) AS broken (key), {relation} AS s
WHERE {join} AND {same_key} AND {broken}
""")

_DELETE_ORPHANS = sql.SQL("""
DELETE FROM {vectors} AS d USING unnest(%(keys)s::text[]) AS broken (key)
WHERE {join} AND NOT EXISTS (SELECT FROM {relation} AS s WHERE {same_key})
""")

_INSERT_MISSING = sql.SQL("""
INSERT INTO {vectors} ({key_columns}, {pending_name})
SELECT {s_key_columns}, CASE WHEN NOT {empty} THEN now() END
FROM unnest(%(keys)s::text[]) AS broken (key), {relation} AS s WHERE {join_s}
ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class Repaired:
    """How many rows were mended, and which triggers were wrong and are anew, as `name on table`."""

    rows: int
    triggers: list[str]


def repair(connection: Connection, registered: Registered) -> Repaired:
    """Make missing triggers anew, then broken rows pending, or empty where they have no text.

    Reads the whole table and writes in short transactions; for missing triggers it waits until nobody has
    the table for long. Raises DatabaseError if rows cannot be mended, when the others are, and where
    another transaction has the table for itself.
    """
    declaration = registered.declaration
    missing = missing_triggers(connection, registered)
    if missing:
        briefly(connection, partial(make_triggers, connection, registered))
    statements = _mending(declaration).values()
    broken = [_Broken(key) for key in broken_keys(connection, registered)]

    def mend(start: int, stop: int) -> Written:
        values = {"keys": [row.key for row in broken[start:stop]]}
        patience = "0" if stop - start == 1 else _PATIENCE
        settings = {WRITE_BACK_SETTING: declaration.name, "lock_timeout": patience}
        try:
            with looking_up(connection, declaration, **settings):
                mended = sum(connection.execute(one, values).rowcount for one in statements)
                return Written(mended, [])
        except psycopg.errors.LockNotAvailable:
            middle = (start + stop) // 2
            return write_apart(broken, start, middle, mend) + write_apart(
                broken, middle, stop, mend
            )

    mended, refusals = 0, list[Refusal]()
    for start in range(0, len(broken), _ROWS_PER_TRANSACTION):
        stop = min(start + _ROWS_PER_TRANSACTION, len(broken))
        done = write_apart(broken, start, stop, mend)
        mended += done.rows
        refusals += done.refusals
    # A trigger may have suppressed or undone it.
    left = broken_keys(connection, registered) if broken else []
    if left:
        raise _stays_broken(declaration, left, refusals)
    return Repaired(mended, missing)


def repair_statements(connection: Connection, registered: Registered) -> dict[str, sql.Composable]:
    """Return by what they are for, in their order, the statements that `gte-pg sync --repair` would run."""
    statements: dict[str, sql.Composable] = {}
    if missing_triggers(connection, registered):
        anew = trigger_statements(connection, registered)
        transaction = [sql.SQL("BEGIN"), *anew, sql.SQL("COMMIT")]
        statements["make the triggers anew"] = sql.SQL(";\n").join(transaction)
    return statements | check_statements(registered) | _mending(registered.declaration)


def _stays_broken(
    declaration: Declaration, left: list[str], refusals: list[Refusal]
) -> DatabaseError:
    key = left[0]
    why = (
        "a trigger suppresses or undoes their UPDATE. Disable it (ALTER TABLE "
        f"{declaration.vectors.as_string()} DISABLE TRIGGER …), repair again, and enable it"
    )
    if refusals:
        key, why = refusals[0].key, refusals[0].error
    return DatabaseError(
        f"{len(left)} rows of {declaration.written} stay broken, the one with the key {key} among them: "
        f"{why}"
    )


@dataclass(frozen=True, slots=True)
class _Broken:
    key: str
    mark: bytes = b""


def _mending(declaration: Declaration) -> dict[str, sql.Composed]:
    if declaration.companion is None:
        return {"have them encoded again": fill(_MEND_ROW, **_terms(declaration))}
    return {
        "have them encoded again": fill(_MEND_COMPANION, **_terms(declaration)),
        "delete companion rows whose row is gone": fill(_DELETE_ORPHANS, **_terms(declaration)),
        "insert companion rows that are missing": _insert_missing(declaration),
    }


def _terms(declaration: Declaration) -> dict[str, sql.Composable]:
    clear = [
        sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in declaration.vector_columns
    ]
    return {
        "vectors": declaration.vectors,
        "relation": declaration.relation,
        "clear": sql.SQL(", ").join(clear),
        "pending_name": sql.Identifier(declaration.pending_column),
        "version": sql.Identifier(declaration.version_column),
        "empty": row_is_empty(declaration, text_row(declaration)),
        "broken": row_is_broken(declaration),
        "join": key_join(declaration, "d", sql.Identifier("broken", "key")),
        "same_key": same_key(declaration),
    }


def _insert_missing(declaration: Declaration) -> sql.Composed:
    columns = [sql.Identifier(column.name) for column in declaration.key]
    return fill(
        _INSERT_MISSING,
        **_terms(declaration),
        key_columns=sql.SQL(", ").join(columns),
        s_key_columns=sql.SQL(", ").join(sql.SQL("s.") + column for column in columns),
        join_s=key_join(declaration, "s", sql.Identifier("broken", "key")),
    )
