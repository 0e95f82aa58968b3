"""Embeddings without their triggers are encoded like others, and told of: changes pass them by unseen.

Somebody has dropped a source column with CASCADE, which takes triggers along, or has disabled them.
"""

from __future__ import annotations

import logging

import psycopg

from gte_pg.database import Connection, Registered
from gte_pg.sync.settings import impatient
from gte_pg.sync.triggers import missing_triggers

logger = logging.getLogger(__name__)


def warn_if_unguarded(connection: Connection, registered: Registered) -> None:
    """Log a warning if triggers of this embedding are missing or disabled: a query of the catalog.

    Says nothing where a partition is locked: its triggers may just be made.
    """
    try:
        with impatient(connection):
            missing = missing_triggers(connection, registered)
    except psycopg.errors.LockNotAvailable:
        return
    if missing:
        logger.warning(
            "%s: triggers are missing, disabled or out of date (%s): what is written may keep the vector "
            "of a former text. Make them anew: gte-pg sync --repair --table %s",
            registered,
            ", ".join(missing),
            registered.declaration.written,
        )
