"""Sync: claim, read, encode, write back; and how far it is."""

from __future__ import annotations

from gte_pg.sync.check import check_statements, count_broken
from gte_pg.sync.claim import Held, find_held
from gte_pg.sync.failures import (
    Failure,
    count_failures,
    list_failures,
    retry_failures,
    retry_statement,
)
from gte_pg.sync.indexes import missing_search_indexes, to_build
from gte_pg.sync.locked import while_free
from gte_pg.sync.once_a_minute import OnceAMinute
from gte_pg.sync.repair import Repaired, repair, repair_statements
from gte_pg.sync.statements import worker_statements
from gte_pg.sync.status import Status, clock, status
from gte_pg.sync.sync import Progress, sync_once, watch
from gte_pg.sync.team import Limit, Team
from gte_pg.sync.triggers import missing_triggers
from gte_pg.sync.unguarded import warn_if_unguarded
from gte_pg.sync.wait import wait_until_synced
from gte_pg.sync.worker import Round, Worker

__all__ = [
    "Failure",
    "Held",
    "Limit",
    "OnceAMinute",
    "Progress",
    "Repaired",
    "Round",
    "Status",
    "Team",
    "Worker",
    "check_statements",
    "clock",
    "count_broken",
    "count_failures",
    "find_held",
    "list_failures",
    "missing_search_indexes",
    "missing_triggers",
    "repair",
    "repair_statements",
    "retry_failures",
    "retry_statement",
    "status",
    "sync_once",
    "to_build",
    "wait_until_synced",
    "warn_if_unguarded",
    "watch",
    "while_free",
    "worker_statements",
]
