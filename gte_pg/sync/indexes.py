"""Build an embedding's indexes without blocking anybody, and repair what a cancelled build left."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from concurrent.futures import Future

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, check_unchanged, connect, is_pooled
from gte_pg.declaration import Declaration, Index, search_indexes
from gte_pg.sync.find_index import (
    drop_index,
    find_index,
    free_name,
    in_the_way,
    is_building,
)
from gte_pg.sync.index_build import unhurried
from gte_pg.sync.partitioned_index import build_partitioned_index
from gte_pg.sync.settings import PATIENCE, impatient

logger = logging.getLogger(__name__)

_IS_PARTITIONED = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass(%s)"

# How soon an index that is built is seen to be.
_LOOK_SECONDS = 0.02

# Postgres builds one index of a table at a time; those of this process do not even ask at once.
_building: set[str] = set()
_building_lock = threading.Lock()

# Indexes are the business of a table's owner, who may also create things in its schema.
_MAY_BUILD = """
SELECT pg_has_role(relowner, 'USAGE') AND has_schema_privilege(relnamespace, 'CREATE')
FROM pg_class WHERE oid = to_regclass(%s)
"""

# Of what tables that was said.
_told: set[str] = set()


def may_build_indexes(connection: Connection, declaration: Declaration) -> bool:
    """Whether the connection's role may build indexes on the table with the vectors; says so if not."""
    table = declaration.vectors.as_string()
    found = connection.execute(_MAY_BUILD, (table,)).fetchone()
    if found == (True,):
        return True
    is_gone = found is None
    if not is_gone and table not in _told:
        _told.add(table)
        logger.warning(
            "%s lacks indexes, which only its owner may build: batches and searches read all of it until "
            "gte-pg sync has been run as the owner",
            declaration.written,
        )
    return False


def is_partitioned(connection: Connection, declaration: Declaration) -> bool:
    """Whether the table with the vectors is: Postgres builds no index of it CONCURRENTLY."""
    table = declaration.vectors.as_string()
    return connection.execute(_IS_PARTITIONED, (table,)).fetchone() == (True,)


def missing_search_indexes(connection: Connection, declaration: Declaration) -> list[Index]:
    """Return the search indexes that are absent or INVALID."""
    return [
        index for index in search_indexes(declaration) if is_missing(connection, declaration, index)
    ]


def to_build(
    connection: Connection, registered: Registered, indexes: Iterable[Index]
) -> list[Index]:
    """Return those of the indexes that are missing, if they may be built."""
    declaration = registered.declaration
    missing = [index for index in indexes if is_missing(connection, declaration, index)]
    return missing if missing and may_build_indexes(connection, declaration) else []


def is_missing(connection: Connection, declaration: Declaration, index: Index) -> bool:
    """Whether an index is absent or INVALID."""
    return not any(find_index(connection, declaration.vectors, declaration, index).values())


def build_index(connection: Connection, registered: Registered, index: Index) -> bool:
    """Build an index unless it is there, without blocking writes; minutes for a large table.

    The connection must be in autocommit: CREATE INDEX CONCURRENTLY has transactions of its own.
    False: somebody else is building it, or another one of the table. Raises DatabaseError where something
    else has each of its names, or the embedding has been changed or removed.
    """
    declaration = registered.declaration
    table = declaration.vectors.as_string()
    if not is_missing(connection, declaration, index):
        return True
    # After a switch another embedding has this one's name, and its index that of the missing one.
    check_unchanged(connection, registered)
    with _building_lock:
        if table in _building:
            return False
        _building.add(table)
    try:
        with unhurried(connection):
            _build(connection, registered, index)
    except psycopg.errors.DeadlockDetected:
        # Two that begin in the same moment wait for each other.
        return False
    finally:
        _building.discard(table)
    return not is_missing(connection, declaration, index)


def build_index_until(
    stop: threading.Event, dsn: str, registered: Registered, index: Index
) -> bool:
    """Build an index as `build_index` does, or leave as soon as `stop` is set: Postgres builds on.

    Nothing that it has done so far is lost, which it would be if the statement were cancelled.
    """
    if stop.is_set():
        return False
    built: Future[bool] = Future()

    def build() -> None:
        try:
            with connect(dsn) as own:
                built.set_result(build_index(own, registered, index))
        except Exception as error:  # noqa: BLE001 - whatever it is, who asked for the index gets it
            built.set_exception(error)

    threading.Thread(target=build, name="gte-pg-index", daemon=True).start()
    while not built.done():
        if stop.wait(_LOOK_SECONDS):
            logger.warning("Postgres goes on building the index %s", index.name)
            return False
    return built.result()


def _build(connection: Connection, registered: Registered, index: Index) -> None:
    declaration = registered.declaration
    table = declaration.vectors
    if is_partitioned(connection, declaration):
        build_partitioned_index(connection, registered, index)
        return
    found = find_index(connection, table, declaration, index)
    # Asked after what there is: no build has begun in between whose index was found. One may have ended.
    if any(found.values()) or is_building(connection, table):
        return
    named = free_name(connection, registered, index)
    for name, why in in_the_way(connection, declaration, named, [table]).items():
        drop_index(connection, name, why)
    # One that is INVALID, or gone, is somebody's whose build has just failed: the next try mends it.
    connection.execute(named.create(declaration, concurrently=True))


def update_statistics(connection: Connection, declaration: Declaration) -> None:
    """Let Postgres look at a sample of the table: a search's plan depends on it. Takes about a second.

    Where somebody else does so, or builds an index that waits for us, it is left to them; where a
    partition is locked, to whoever reads the log.
    """
    # A transaction keeps all partitions locked to its end, but a pooler lets nothing be set without one.
    limits = (
        impatient(connection)
        if is_pooled(connection)
        else unhurried(connection, lock_timeout=PATIENCE)
    )
    try:
        with limits:
            connection.execute(sql.SQL("ANALYZE (SKIP_LOCKED) {}").format(declaration.vectors))
    except psycopg.errors.LockNotAvailable:
        logger.warning(
            "%s has no new statistics, as a part of it is locked by another transaction: run ANALYZE on it "
            "later",
            declaration.written,
        )
