"""Fill the embedding that is to take the place of another, while that one serves."""

from __future__ import annotations

import time
from datetime import datetime

from psycopg import sql

from gte_pg.database import Connection, Registered, connect, fill
from gte_pg.declaration import Declaration, search_indexes
from gte_pg.sync import Team, clock, sync_once, to_build

# So long rows that another worker is at, or that somebody has locked, are waited for, in seconds.
_PATIENCE, _PAUSE, _PAUSE_FOR_INDEX = 30, 0.1, 2

# A row that is pending in both, because it is new or because neither model takes it, loses nothing.
_LOST = sql.SQL("""
SELECT count(*) FROM {coming} AS c
WHERE c.{pending} <= %(since)s AND c.{coming_dense} IS NULL AND EXISTS (
    SELECT FROM {present} AS p WHERE {same_key} AND p.{present_dense} IS NOT NULL
)""")


def count_lost(
    connection: Connection, present: Declaration, coming: Declaration, *, since: datetime
) -> int:
    """Count the rows that are found now and would not be if `coming` took the place of `present`.

    Those that were written after `since` do not count: of them, some always are on their way.
    """
    same_key = sql.SQL(" AND ").join(
        sql.SQL("p.{} = c.{}").format(sql.Identifier(column.name), sql.Identifier(column.name))
        for column in present.key
    )
    statement = fill(
        _LOST,
        present=present.vectors,
        present_dense=sql.Identifier(present.dense_column),
        coming=coming.vectors,
        coming_dense=sql.Identifier(coming.dense_column),
        pending=sql.Identifier(coming.pending_column),
        same_key=same_key,
    )
    (lost,) = connection.execute(statement, {"since": since}).fetchone() or (0,)
    return int(lost)


def fill_up(team: Team, present: Declaration, coming: Registered, *, since: datetime) -> int:
    """Work on `coming` until no row would be lost of those that were written up to `since`, and the search
    indexes are there.

    Returns how many rows would be lost all the same, half a minute later: they cannot be encoded, or others
    hold them. Leaves sooner if the team is told to stop.
    """
    declaration, lost = coming.declaration, 0
    until = time.monotonic() + _PATIENCE
    while not team.stop.is_set():
        with connect(team.dsn) as connection:
            lost = count_lost(connection, present, declaration, since=since)
            # Somebody else may be building one.
            if not lost and not to_build(connection, coming, search_indexes(declaration)):
                break
            if not lost:
                since, until = clock(connection), time.monotonic() + _PATIENCE
            elif time.monotonic() > until:
                break
            team.stop.wait(_PAUSE if lost else _PAUSE_FOR_INDEX)
            list(sync_once(connection, coming, team))
    return lost
