"""The invariant of one embedding, looked at in one snapshot and with every vector compared.

It is stated here a second time, in other words than in gte_pg/sync/check.py, and the two must agree.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import key_text
from gte_pg.sync import count_broken
from tests.stress.texts import TOLERANCE

# `r` is the application's row, `d` the row with the vector (the same one in the layout "columns"), `k`
# what the stored hash is the hash of.
_LOOK = sql.SQL("""
SELECT coalesce({r_key}, {d_key}), CASE
    WHEN {r_missing} THEN 'a companion row without its row'
    WHEN {d_missing} THEN 'a row without its companion row'
    WHEN t.text IS NULL THEN
        CASE WHEN filled > 0 OR {pending} IS NOT NULL THEN 'no text, but a vector, or pending' END
    WHEN filled = 0 THEN
        CASE WHEN {pending} IS NULL THEN 'neither a vector nor pending' END
    WHEN filled < 3 THEN 'part of a vector'
    WHEN k.text IS NULL THEN 'the hash of no text'
    WHEN {dense}::vector <-> k.dense > {tolerance} OR {sparse} <-> k.sparse > {tolerance}
        THEN {wrong_vector}
    WHEN k.text <> t.text AND NOT ({keeps} AND {pending} IS NOT NULL) THEN 'the vector of another text'
END
FROM {rows}
CROSS JOIN LATERAL (
    SELECT nullif(concat_ws(E'\\n', {sources}), '') AS text,
           num_nonnulls({dense}, {sparse}, {hash}) AS filled
) AS t
LEFT JOIN stress.reference AS k ON k.hash = {hash}
""")

_WRONG_VECTOR = "a vector that is not its hash's"


@dataclass(frozen=True)
class Violation:
    """A row that breaks the invariant, and how."""

    embedding: str
    key: str
    wrong: str


@dataclass(frozen=True)
class Sample:
    """What was seen of one embedding in one snapshot. `counted` is what gte-pg's own check says."""

    rows: int
    violations: list[Violation]
    counted: int

    @property
    def agrees(self) -> bool:
        """Whether gte-pg's own check found the same; it trusts a hash and looks at no vector."""
        visible = [one for one in self.violations if one.wrong != _WRONG_VECTOR]
        return len(visible) == self.counted


def take_sample(connection: Connection, registered: Registered) -> Sample:
    """Look at all rows of an embedding in one snapshot.

    Locks come before the snapshot: TRUNCATE empties a table for older snapshots too, but the DELETE that
    may take its place in the companion does not.
    """
    declaration = registered.declaration
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for table in (declaration.relation, declaration.vectors):
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(table))
        rows = connection.execute(_statement(registered)).fetchall()
        counted = count_broken(connection, registered)
    name = f"{declaration.written}.{declaration.name}"
    violations = [Violation(name, key, wrong) for key, wrong in rows if wrong is not None]
    return Sample(len(rows), violations, counted)


def _statement(registered: Registered) -> sql.Composed:
    declaration = registered.declaration
    companion = declaration.layout == "companion"
    d = "d" if companion else "r"
    keys = [column.name for column in declaration.key]
    rows: sql.Composable = sql.SQL("{} AS r").format(declaration.relation)
    missing: dict[str, sql.Composable]
    missing = {"r_missing": sql.SQL("false"), "d_missing": sql.SQL("false")}
    if companion:
        rows = sql.SQL("{} AS r FULL JOIN {} AS d USING ({})").format(
            declaration.relation, declaration.vectors, sql.SQL(", ").join(map(sql.Identifier, keys))
        )
        missing = {
            f"{row}_missing": sql.SQL("{} IS NULL").format(sql.Identifier(row, keys[0]))
            for row in ("r", "d")
        }
    return _LOOK.format(
        **missing,
        rows=rows,
        r_key=key_text(declaration, "r"),
        d_key=key_text(declaration, d),
        pending=sql.Identifier(d, declaration.pending_column),
        dense=sql.Identifier(d, declaration.dense_column),
        sparse=sql.Identifier(d, declaration.sparse_column),
        hash=sql.Identifier(d, declaration.hash_column),
        keeps=sql.Literal(declaration.on_change == "keep"),
        tolerance=sql.Literal(TOLERANCE),
        wrong_vector=sql.Literal(_WRONG_VECTOR),
        sources=sql.SQL(", ").join(
            sql.SQL("nullif({}, '')").format(sql.Identifier("r", column))
            for column in declaration.source
        ),
    )
