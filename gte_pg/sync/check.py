"""Check: does anything break the invariant of the capture?

The triggers keep the invariant against every writer. What goes past triggers can break it:
`pg_restore --disable-triggers`, ATTACH of a filled partition, and whoever disables or drops the triggers
themselves. The check reads every row and compares contents: the hash of the text as it stands with the
hash that came with the vector. A row for which the expression raises has no text that anybody could
compare: it is right only while it is pending.
"""

from __future__ import annotations

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, registered_as
from gte_pg.declaration import (
    Declaration,
    key_text,
    row_hash,
    row_is_empty,
    same_key,
    text_row,
)
from gte_pg.declaration.trigger import function_body
from gte_pg.sync.locked import while_free
from gte_pg.sync.refusals import is_of_a_row

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


def count_broken(connection: Connection, registered: Registered) -> int:
    """Count the rows that are neither right, nor pending, nor without text. Reads the whole table.

    Raises TableLocked, a DatabaseError, where another transaction has the table for itself.
    """
    return len(broken_keys(connection, registered))


def check_statements(registered: Registered) -> dict[str, sql.Composable]:
    """Return by what it is for the statement that `gte-pg sync --check` would run."""
    declaration = registered.declaration
    return {"find the keys of broken rows": _finding(declaration, row_is_broken(declaration))}


def broken_keys(connection: Connection, registered: Registered) -> list[str]:
    """Return the keys of these rows, as text; raises TableLocked as `count_broken` does."""
    declaration = registered.declaration
    with while_free(connection, registered):
        try:
            with connection.transaction():
                return _find(connection, declaration, row_is_broken(declaration))
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
        broken=row_is_broken(declaration), pending=sql.Identifier("d", declaration.pending_column)
    )
    parameters, values = sql.SQL("d {}").format(declaration.vectors), "d.*"
    if declaration.companion is not None:
        parameters, values = parameters + sql.SQL(", s {}").format(declaration.relation), "d.*, s.*"
    create = _CREATE_IS_BROKEN.format(parameters=parameters, body=function_body(body))
    return create, sql.SQL(f"pg_temp.gte_is_broken({values})")


def row_is_broken(declaration: Declaration) -> sql.Composed:
    """Whether the row `d` is, or the pair of `d` and its row `s`."""
    vectors = [sql.Identifier("d", name) for name in declaration.vector_columns]
    broken = _IS_BROKEN.format(
        empty=row_is_empty(declaration, text_row(declaration)),
        filled=sql.SQL("pg_catalog.num_nonnulls({})").format(sql.SQL(", ").join(vectors)),
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
