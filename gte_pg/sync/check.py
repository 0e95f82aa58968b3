"""Check: are there rows that break the invariant of the capture? Repair: make them pending.

The triggers keep the invariant against every writer. What goes past triggers can break it: a
superuser's `session_replication_role`, `pg_restore --disable-triggers`, ATTACH of a filled partition.
The check reads every row and compares contents: the hash of the text as it stands with the hash that
came with the vector.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import Declaration, row_hash, row_is_empty

# See gte_pg/declaration/capture.py.
_IS_BROKEN = sql.SQL("""
NOT CASE
    WHEN {empty} THEN {filled} = 0 AND {pending} IS NULL
    WHEN {filled} = 0 THEN {pending} IS NOT NULL
    ELSE {filled} = {all} AND {stored} = {hash}
END""")

_COUNT = sql.SQL("SELECT count(*) FROM {relation} AS d WHERE {broken}")

# The triggers do the rest: they take the vector away, or leave a row without text alone.
_REPAIR = sql.SQL("""
UPDATE {relation} AS d SET {clear}, {pending} = CASE WHEN {empty} THEN NULL::timestamptz ELSE now() END
WHERE {broken}
""")


def count_broken(connection: Connection, registered: Registered) -> int:
    """Count the rows that are neither right, nor pending, nor without text. Reads the whole table."""
    declaration = registered.declaration
    statement = _COUNT.format(relation=declaration.relation, broken=_is_broken(declaration))
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


def repair(connection: Connection, registered: Registered) -> int:
    """Make those rows pending, or empty where they have no text, and return how many there were."""
    declaration = registered.declaration
    statement = _REPAIR.format(
        relation=declaration.relation,
        clear=sql.SQL(", ").join(
            sql.SQL("{} = NULL").format(sql.Identifier(name)) for name in declaration.vector_columns
        ),
        pending=sql.Identifier(declaration.pending_column),
        empty=row_is_empty(declaration, "d"),
        broken=_is_broken(declaration),
    )
    return connection.execute(statement).rowcount


def _is_broken(declaration: Declaration) -> sql.Composed:
    vectors = [sql.Identifier("d", name) for name in declaration.vector_columns]
    return _IS_BROKEN.format(
        empty=row_is_empty(declaration, "d"),
        filled=sql.SQL("num_nonnulls({})").format(sql.SQL(", ").join(vectors)),
        all=sql.Literal(len(vectors)),
        pending=sql.Identifier("d", declaration.pending_column),
        stored=sql.Identifier("d", declaration.hash_column),
        hash=row_hash(declaration, "d"),
    )
