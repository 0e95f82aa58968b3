"""Capture: the triggers by which the database itself keeps the invariant.

For every row: either the hash is that of the current text and the vector is that text's,
or there is no vector and `pending` says since when one is due
(with on_change="keep": or the vector of the text before is still there, and `pending` is set),
or there is no text and nothing to do.
"""

from __future__ import annotations

from typing import Literal

from psycopg import sql

from gte_pg.declaration.companion_capture import (
    companion_capture_functions,
    companion_capture_triggers,
)
from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.names import object_name
from gte_pg.declaration.row_capture import row_capture_function, row_capture_triggers
from gte_pg.declaration.trigger import Trigger, drop_triggers

_NEWEST_POSTGRES = 18


def create_capture(declaration: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Create the function and the triggers, for a server of this major version.

    The caller's transaction makes it all or nothing.
    """
    parts = [*filter(None, (declaration.schema,)), declaration.table, declaration.name]
    function = sql.Identifier("gte", object_name(*parts, "capture"))
    if declaration.layout == "companion":
        statements = companion_capture_functions(declaration, function, postgres)
    else:
        statements = [row_capture_function(declaration, function, postgres)]
    for trigger in _triggers(declaration, postgres):
        statements += trigger.create(declaration, function)
    return statements


def drop_capture(declaration: Declaration) -> list[sql.Composed]:
    """Drop the triggers and their functions."""
    return [drop_triggers(declaration, _triggers(declaration, _NEWEST_POSTGRES))]


def trigger_names(
    declaration: Declaration, *, level: Literal["ROW", "STATEMENT"] | None = None
) -> list[str]:
    """Return the names of the triggers that must be there, enabled ALWAYS, or those of one level."""
    return [
        trigger.written_name(declaration)
        for trigger in _triggers(declaration, _NEWEST_POSTGRES)
        if level in (None, trigger.level)
    ]


def _triggers(declaration: Declaration, postgres: int) -> list[Trigger]:
    if declaration.layout == "companion":
        return companion_capture_triggers(declaration, postgres)
    return row_capture_triggers(declaration, postgres)
