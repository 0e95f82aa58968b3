"""Check: does anything break the invariant of the capture? Repair: make it whole again.

The triggers keep the invariant against every writer. What goes past triggers can break it:
`pg_restore --disable-triggers`, ATTACH of a filled partition, and whoever disables or drops the triggers
themselves. The check reads every row and compares contents: the hash of the text as it stands with the
hash that came with the vector. A row for which the expression raises has no text that anybody could
compare: it is right only while it is pending.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, fill, registered_as
from gte_pg.declaration import (
    WRITE_BACK_SETTING,
    Declaration,
    key_join,
    key_text,
    row_hash,
    row_is_empty,
)
from gte_pg.declaration.trigger import function_body
from gte_pg.errors import DatabaseError
from gte_pg.sync.giving_way import briefly
from gte_pg.sync.locked import while_free
from gte_pg.sync.refusals import Refusal, Written, is_of_a_row, write_apart
from gte_pg.sync.settings import looking_up
from gte_pg.sync.source import same_key, text_row
from gte_pg.sync.triggers import make_triggers, missing_triggers, trigger_statements

_ROWS_PER_TRANSACTION = 1_000

# See gte_pg/declaration/capture.py. Rows that were there before the embedding are all marked by
# '-infinity', with text or without, until a worker has looked at them.
_IS_BROKEN = sql.SQL("""
NOT CASE
    WHEN {empty} THEN {filled} = 0 AND coalesce({pending}, '-infinity') = '-infinity'
    WHEN {filled} = 0 THEN {pending} IS NOT NULL
    ELSE {filled} = {all} AND ({stored} = {hash} OR {keeps} AND {pending} IS NOT NULL)
END""")

# A row of either table that has none in the other is broken too, unless it is still to be copied.
_IS_BROKEN_PAIR = sql.SQL("""
CASE WHEN {s_key} IS NULL THEN true
    WHEN {d_key} IS NULL THEN NOT EXISTS (SELECT FROM gte.embedding WHERE {registered} AND copying)
    ELSE {broken}
END""")

_FIND = sql.SQL("SELECT {key} FROM {rows} WHERE {broken}")

# Slower, row by row: it does not end where one raises.
_CREATE_IS_BROKEN = sql.SQL("""
CREATE FUNCTION pg_temp.gte_is_broken({parameters}) RETURNS boolean LANGUAGE plpgsql AS {body}""")

_IS_BROKEN_BODY = sql.SQL("""BEGIN
    RETURN {broken};
EXCEPTION WHEN OTHERS THEN
    RETURN {pending} IS NULL;
END""")

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


def count_broken(connection: Connection, registered: Registered) -> int:
    """Count the rows that are neither right, nor pending, nor without text. Reads the whole table.

    Raises TableLocked, a DatabaseError, where another transaction has the table for itself.
    """
    return len(_broken_keys(connection, registered))


@dataclass(frozen=True, slots=True)
class Repaired:
    """How many rows were mended, and which triggers were wrong and are anew, as `name on table`."""

    rows: int
    triggers: list[str]


def repair(connection: Connection, registered: Registered) -> Repaired:
    """Make missing triggers anew, then such rows pending, or empty where they have no text.

    Reads the whole table and writes in short transactions; for missing
    triggers it waits until nobody has the table for long. Raises DatabaseError if rows cannot be mended,
    when the others are, and where another transaction has the table for itself.
    """
    declaration = registered.declaration
    missing = missing_triggers(connection, registered)
    if missing:
        briefly(connection, partial(make_triggers, connection, registered))
    statements = _mending(declaration).values()
    broken = [_Broken(key) for key in _broken_keys(connection, registered)]

    def mend(start: int, stop: int) -> Written:
        values = {"keys": [row.key for row in broken[start:stop]]}
        # Rows that others hold are waited for.
        settings = {WRITE_BACK_SETTING: declaration.name, "lock_timeout": "0"}
        with looking_up(connection, declaration, **settings):
            return Written(sum(connection.execute(one, values).rowcount for one in statements), [])

    mended, refusals = 0, list[Refusal]()
    for start in range(0, len(broken), _ROWS_PER_TRANSACTION):
        stop = min(start + _ROWS_PER_TRANSACTION, len(broken))
        done = write_apart(broken, start, stop, mend)
        mended += done.rows
        refusals += done.refusals
    # A trigger may have suppressed or undone it.
    left = _broken_keys(connection, registered) if broken else []
    if left:
        raise _stays_broken(declaration, left, refusals)
    return Repaired(mended, missing)


def check_statements(registered: Registered) -> dict[str, sql.Composable]:
    """Return by what it is for the statement that `gte-pg sync --check` would run."""
    declaration = registered.declaration
    return {"find the keys of broken rows": _finding(declaration, _is_broken(declaration))}


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


def _broken_keys(connection: Connection, registered: Registered) -> list[str]:
    declaration = registered.declaration
    with while_free(connection, registered):
        try:
            with connection.transaction():
                return _find(connection, declaration, _is_broken(declaration))
        except psycopg.Error as error:
            if not is_of_a_row(error):
                raise
        with connection.transaction(force_rollback=True):
            create, is_broken = _row_by_row(declaration)
            connection.execute(create)
            return _find(connection, declaration, is_broken)


def _find(connection: Connection, declaration: Declaration, broken: sql.Composable) -> list[str]:
    return [key for (key,) in connection.execute(_finding(declaration, broken)).fetchall()]


def _finding(declaration: Declaration, broken: sql.Composable) -> sql.Composed:
    rows: sql.Composable = sql.SQL("{} AS d").format(declaration.vectors)
    key: sql.Composable = key_text(declaration, "d")
    if declaration.companion is not None:
        rows = sql.SQL("{} FULL JOIN {} AS s ON {}").format(
            rows, declaration.relation, same_key(declaration)
        )
        is_gone = sql.SQL("{} IS NULL").format(sql.Identifier("d", declaration.key[0].name))
        key = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
            is_gone, key_text(declaration, "s"), key
        )
    return _FIND.format(key=key, rows=rows, broken=broken)


def _row_by_row(declaration: Declaration) -> tuple[sql.Composed, sql.Composable]:
    """Return the statement that creates a function, and its call, which say what is broken in a row."""
    body = _IS_BROKEN_BODY.format(
        broken=_is_broken(declaration), pending=sql.Identifier("d", declaration.pending_column)
    )
    parameters, values = sql.SQL("d {}").format(declaration.vectors), "d.*"
    if declaration.companion is not None:
        parameters, values = parameters + sql.SQL(", s {}").format(declaration.relation), "d.*, s.*"
    create = _CREATE_IS_BROKEN.format(parameters=parameters, body=function_body(body))
    return create, sql.SQL(f"pg_temp.gte_is_broken({values})")


def _is_broken(declaration: Declaration) -> sql.Composed:
    vectors = [sql.Identifier("d", name) for name in declaration.vector_columns]
    broken = _IS_BROKEN.format(
        empty=row_is_empty(declaration, text_row(declaration)),
        filled=sql.SQL("num_nonnulls({})").format(sql.SQL(", ").join(vectors)),
        all=sql.Literal(len(vectors)),
        pending=sql.Identifier("d", declaration.pending_column),
        stored=sql.Identifier("d", declaration.hash_column),
        hash=row_hash(declaration, text_row(declaration)),
        keeps=sql.Literal(declaration.on_change == "keep"),
    )
    if declaration.companion is None:
        return broken
    first = declaration.key[0].name
    return _IS_BROKEN_PAIR.format(
        s_key=sql.Identifier("s", first),
        d_key=sql.Identifier("d", first),
        registered=registered_as(declaration),
        broken=broken,
    )


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
        "broken": _is_broken(declaration),
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
