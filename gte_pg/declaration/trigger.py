"""A trigger that captures changes, and what a change of the source columns is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.names import object_name

# From this version on Postgres tells without reading it whether an out-of-line value is unchanged.
_POSTGRES_WITH_TOAST_IDS = 17

_CHANGED = sql.SQL('{old}::text COLLATE "C" IS DISTINCT FROM {new}::text')

_CHANGED_TOASTED = sql.SQL("""\
((pg_column_toast_chunk_id({old}) IS NULL
      OR pg_column_toast_chunk_id({old}) IS DISTINCT FROM pg_column_toast_chunk_id({new}))
     AND {old}::text COLLATE "C" IS DISTINCT FROM {new}::text)""")

_CREATE = sql.SQL("""\
CREATE TRIGGER {trigger} {timing} {event} ON {relation}
FOR EACH {level}{condition} EXECUTE FUNCTION {function}({arguments})""")

_ENABLE = sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}")

# The table may have been renamed since: the function is asked for, not derived from its name.
_DROP = sql.SQL("""\
DO $drop$
DECLARE
    function regprocedure;
BEGIN
    SELECT tgfoid INTO function FROM pg_catalog.pg_trigger
    WHERE tgrelid = to_regclass({relation}) AND tgname = ANY ({names}) LIMIT 1;
    {drop_triggers}
    IF function IS NOT NULL THEN
        EXECUTE 'DROP FUNCTION ' || function;
    END IF;
END
$drop$""")


@dataclass(frozen=True, slots=True)
class Trigger:
    """`name` decides the order in which triggers of one event fire: the order of the alphabet.

    `~` sorts last, so that an application's own BEFORE trigger may still change the text. ENABLE
    ALWAYS lets it fire for rows that logical replication applies.
    """

    name: str
    timing: Literal["BEFORE", "AFTER"]
    event: Literal["INSERT", "UPDATE", "DELETE", "TRUNCATE"]
    condition: sql.Composed | None = None
    arguments: tuple[str, ...] = ()

    @property
    def level(self) -> Literal["ROW", "STATEMENT"]:
        return "STATEMENT" if self.event == "TRUNCATE" else "ROW"

    def written_name(self, declaration: Declaration) -> str:
        return object_name("~gte", declaration.name, self.name)

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
                relation=declaration.relation,
                level=sql.SQL(self.level),
                condition=when,
                function=function,
                arguments=sql.SQL(", ").join(map(sql.Literal, self.arguments)),
            ),
            _ENABLE.format(declaration.relation, name),
        ]


def drop_triggers(declaration: Declaration, triggers: list[Trigger]) -> sql.Composed:
    """Drop the triggers and the function that they call."""
    names = [trigger.written_name(declaration) for trigger in triggers]
    drop = sql.SQL("DROP TRIGGER IF EXISTS {} ON {};")
    return _DROP.format(
        relation=sql.Literal(declaration.relation.as_string()),
        names=sql.Literal(names),
        drop_triggers=sql.SQL("\n    ").join(
            drop.format(sql.Identifier(name), declaration.relation) for name in names
        ),
    )


def source_changed(declaration: Declaration, postgres: int) -> sql.Composed:
    """Whether a source column has another value; bytes are compared, whatever the collation.

    `UPDATE OF` would not do: an application's trigger may change a column that is not named.
    """
    changed = _CHANGED if postgres < _POSTGRES_WITH_TOAST_IDS else _CHANGED_TOASTED
    return sql.SQL(" OR ").join(
        changed.format(old=sql.Identifier("old", column), new=sql.Identifier("new", column))
        for column in declaration.source
    )
