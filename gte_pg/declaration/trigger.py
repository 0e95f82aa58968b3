"""A trigger that captures changes, and what a change of the source columns is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.names import object_name

# `~` sorts last, so that an application's own BEFORE trigger may still change the text.
TRIGGER_PREFIX = "~gte"

# From this version on Postgres tells without reading it whether an out-of-line value is unchanged.
_POSTGRES_WITH_TOAST_IDS = 17

_CHANGED = sql.SQL('{old}::text COLLATE "C" IS DISTINCT FROM {new}::text')

_CHANGED_TOASTED = sql.SQL("""\
((pg_catalog.pg_column_toast_chunk_id({old}) = pg_catalog.pg_column_toast_chunk_id({new})) IS NOT TRUE
     AND {old}::text COLLATE "C" IS DISTINCT FROM {new}::text)""")

_CREATE = sql.SQL("""\
CREATE TRIGGER {trigger} {timing} {event}{columns} ON {relation}
FOR EACH {level}{condition} EXECUTE FUNCTION {function}()""")

_ENABLE = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")

# The table may have been renamed since: the function is asked for, not derived from its name.
_DROP = sql.SQL("""\
DO $drop$
DECLARE
    functions regprocedure[];
    function regprocedure;
    trigger name;
BEGIN
    SELECT array_agg(DISTINCT tgfoid) INTO functions FROM pg_catalog.pg_trigger
    WHERE tgrelid = to_regclass({relation}) AND tgname = ANY ({names});
    FOR trigger IN
        SELECT tgname FROM pg_catalog.pg_trigger
        WHERE tgrelid = to_regclass({relation}) AND tgfoid = ANY (functions) AND tgparentid = 0
    LOOP
        EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', trigger, to_regclass({relation}));
    END LOOP;
    FOREACH function IN ARRAY coalesce(functions, '{{}}') LOOP
        BEGIN
            EXECUTE pg_catalog.format('DROP FUNCTION %s', function);
        EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN
            NULL;
        END;
    END LOOP;
END
$drop$""")


@dataclass(frozen=True, slots=True)
class Trigger:
    """`columns` are those that an UPDATE must name for the trigger to be looked at at all.

    Triggers of one event fire in the order of their names. ENABLE ALWAYS lets it fire for rows that
    logical replication applies.
    """

    name: str
    timing: Literal["BEFORE", "AFTER"]
    event: Literal["INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    condition: sql.Composed | None = None
    columns: tuple[str, ...] = ()

    @property
    def level(self) -> Literal["ROW", "STATEMENT"]:
        return "STATEMENT" if self.event == "TRUNCATE" else "ROW"

    def written_name(self, declaration: Declaration) -> str:
        return object_name(TRIGGER_PREFIX, declaration.name, self.name)

    def create(self, declaration: Declaration, function: sql.Identifier) -> list[sql.Composed]:
        name = sql.Identifier(self.written_name(declaration))
        when: sql.Composable = sql.SQL("")
        if self.condition is not None:
            when = sql.SQL(" WHEN ({})").format(self.condition)
        return [
            _CREATE.format(
                trigger=name,
                timing=sql.SQL(self.timing),
                event=sql.SQL(self.event),
                columns=self._columns(),
                relation=declaration.relation,
                level=sql.SQL(self.level),
                condition=when,
                function=function,
            ),
            _ENABLE.format(declaration.relation, name),
        ]

    def _columns(self) -> sql.Composable:
        if not self.columns:
            return sql.SQL("")
        return sql.SQL(" OF {}").format(sql.SQL(", ").join(map(sql.Identifier, self.columns)))


def drop_triggers(declaration: Declaration, triggers: list[Trigger]) -> sql.Composed:
    """Drop the triggers and the functions that they call."""
    names = [trigger.written_name(declaration) for trigger in triggers]
    return _DROP.format(
        relation=sql.Literal(declaration.relation.as_string()), names=sql.Literal(names)
    )


def function_body(body: sql.Composed) -> sql.SQL:
    """Quote a function's body: readable, and whatever a template or an expression has in it."""
    written, tag = function_source(body), "body"
    while f"${tag}$" in written:
        tag += "_"
    return sql.SQL(f"${tag}${written}${tag}$")


def pinned_settings(body: sql.Composed) -> sql.SQL:
    """Return the settings under which a body is read, whatever those of the application's session are.

    Each costs every call a little: what strings with a backslash mean is asked where there is one.
    """
    settings = "SET search_path = pg_catalog, pg_temp"
    if "\\" in function_source(body):
        settings += " SET standard_conforming_strings = on"
    return sql.SQL(settings)


def function_source(body: sql.Composed) -> str:
    """Return a function's body as the catalogue has it."""
    return f"\n{body.as_string()}\n"


def source_changed(declaration: Declaration, postgres: int) -> sql.Composed:
    """Whether a source column has another value; bytes are compared, whatever the collation."""
    changed = _CHANGED if postgres < _POSTGRES_WITH_TOAST_IDS else _CHANGED_TOASTED
    return sql.SQL(" OR ").join(
        changed.format(old=sql.Identifier("old", column), new=sql.Identifier("new", column))
        for column in declaration.source
    )
