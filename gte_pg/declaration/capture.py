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
    companion_capture_body,
    companion_capture_functions,
    companion_capture_triggers,
)
from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.names import object_name
from gte_pg.declaration.row_capture import (
    row_capture_body,
    row_capture_function,
    row_capture_triggers,
)
from gte_pg.declaration.trigger import Trigger, drop_triggers, function_source

# A server is one of these, or works as one of them does.
_OLDEST_POSTGRES, _NEWEST_POSTGRES = 13, 18

# The name may be that of another table's function: of one that was renamed since, or whose schema and name
# read the same. Its triggers know it by its oid: it works on under another name.
_MAKE_WAY = sql.SQL("""\
DO $way$
DECLARE
    other regprocedure := to_regprocedure({signature});
BEGIN
    IF other IS NOT NULL THEN
        EXECUTE pg_catalog.format('DROP FUNCTION %s', other);
    END IF;
EXCEPTION WHEN dependent_objects_still_exist THEN
    EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO capture_%s', other, other::oid);
END
$way$""")


def create_capture(declaration: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Create the function and the triggers, for a server of this major version.

    The caller's transaction makes it all or nothing.
    """
    parts = [*filter(None, (declaration.schema,)), declaration.table, declaration.name]
    function = sql.Identifier("gte", object_name(*parts, "capture"))
    return [
        _MAKE_WAY.format(signature=sql.Literal(f"{function.as_string()}()")),
        *_create_function(declaration, function, postgres),
        *(
            statement
            for trigger in _triggers(declaration, postgres)
            for statement in trigger.create(declaration, function)
        ),
    ]


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


def update_trigger_name(declaration: Declaration) -> str:
    """Return the name of the trigger whose condition looks at every source column."""
    triggers = _triggers(declaration, _NEWEST_POSTGRES)
    (update,) = [trigger for trigger in triggers if trigger.name == "update"]
    return update.written_name(declaration)


def capture_sources(declaration: Declaration) -> list[str]:
    """Return what the function's source may be, by the server that it was written for."""
    return [
        function_source(_body(declaration, postgres))
        for postgres in (_OLDEST_POSTGRES, _NEWEST_POSTGRES)
    ]


def _body(declaration: Declaration, postgres: int) -> sql.Composed:
    if declaration.layout == "companion":
        return companion_capture_body(declaration, postgres)
    return row_capture_body(declaration, postgres)


def _create_function(
    declaration: Declaration, function: sql.Identifier, postgres: int
) -> list[sql.Composed]:
    if declaration.layout == "companion":
        return companion_capture_functions(declaration, function, postgres)
    return [row_capture_function(declaration, function, postgres)]


def _triggers(declaration: Declaration, postgres: int) -> list[Trigger]:
    if declaration.layout == "companion":
        return companion_capture_triggers(declaration, postgres)
    return row_capture_triggers(declaration, postgres)
