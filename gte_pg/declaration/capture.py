"""Capture: the triggers by which the database itself keeps the invariant.

    For every row: either the hash is that of the current text and the vector is that text's,
    or there is no vector and `pending` says since when one is due,
    or there is no text and nothing to do.

Four BEFORE ROW triggers watch for a row that would break it (INSERT and UPDATE, with text and
without) and one function mends the row: it empties the vector and sets `pending`. Nobody can store
a stale vector: not a slow worker, not an application that writes its own, not a copied row.

The WHEN clauses name every column, so Postgres follows a renamed source column; the function's body
names only the embedding's own. Triggers fire in the order of their names, and `~` sorts last: an
application's own BEFORE trigger may still change the text. ENABLE ALWAYS lets them fire for rows
that logical replication applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.names import object_name
from gte_pg.declaration.text import row_hash, row_is_empty

_FUNCTION = sql.SQL("""\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    {clear}
    NEW.{pending} := CASE TG_ARGV[0] WHEN 'due' THEN now() END;
    RETURN NEW;
END
$body$""")

_TRIGGER = sql.SQL("""\
CREATE TRIGGER {trigger} BEFORE {event} ON {relation}
FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {function}({argument})""")


@dataclass(frozen=True, slots=True)
class _Trigger:
    event: Literal["INSERT", "UPDATE"]
    finds: Literal["due", "empty"]
    condition: sql.Composed

    def name(self, declaration: Declaration) -> sql.Identifier:
        return sql.Identifier(object_name("~gte", declaration.name, self.event.lower(), self.finds))


def create_capture(declaration: Declaration) -> list[sql.Composed]:
    """Create the function and the triggers. The caller's transaction makes it all or nothing."""
    function = _function(declaration)
    clear = sql.SQL("\n    ").join(
        sql.SQL("NEW.{} := NULL;").format(sql.Identifier(name))
        for name in declaration.vector_columns
    )
    statements = [
        _FUNCTION.format(
            function=function, clear=clear, pending=sql.Identifier(declaration.pending_column)
        )
    ]
    for trigger in _triggers(declaration):
        statements.append(
            _TRIGGER.format(
                trigger=trigger.name(declaration),
                event=sql.SQL(trigger.event),
                relation=declaration.relation,
                condition=trigger.condition,
                function=function,
                argument=sql.Literal(trigger.finds),
            )
        )
        statements.append(
            sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(
                declaration.relation, trigger.name(declaration)
            )
        )
    return statements


def drop_capture(declaration: Declaration) -> list[sql.Composed]:
    """Drop the triggers, then their function."""
    return [
        *(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                trigger.name(declaration), declaration.relation
            )
            for trigger in _triggers(declaration)
        ),
        sql.SQL("DROP FUNCTION IF EXISTS {}()").format(_function(declaration)),
    ]


def _function(declaration: Declaration) -> sql.Identifier:
    parts = [*filter(None, (declaration.schema,)), declaration.table, declaration.name]
    return sql.Identifier("gte", object_name(*parts, "capture"))


def _triggers(declaration: Declaration) -> list[_Trigger]:
    """Return the four triggers; in each condition what is cheap stands first.

    On INSERT the common row has text, no vector and the default `pending`: no hash is computed.
    On UPDATE of other columns of a finished row the sources are compared and nothing is hashed.
    """
    filled = sql.SQL("num_nonnulls({})").format(
        sql.SQL(", ").join(sql.Identifier("new", name) for name in declaration.vector_columns)
    )
    terms = {
        "filled": filled,
        "all": sql.Literal(len(declaration.vector_columns)),
        "pending": sql.Identifier("new", declaration.pending_column),
        "new_hash": sql.Identifier("new", declaration.hash_column),
        "old_hash": sql.Identifier("old", declaration.hash_column),
        "hash": row_hash(declaration, "new"),
        "empty": row_is_empty(declaration, "new"),
        "changed": _source_changed(declaration),
    }
    broken = sql.SQL(
        "NOT ({filled} = 0 AND {pending} IS NOT NULL)\n"
        "    AND NOT {empty}\n"
        "    AND ({filled} <> {all} OR {new_hash} IS DISTINCT FROM {hash})"
    ).format(**terms)
    touched = sql.SQL(
        "({changed}\n"
        "     OR {new_hash} IS DISTINCT FROM {old_hash}\n"
        "     OR {filled} NOT IN (0, {all})\n"
        "     OR {new_hash} IS NULL AND {pending} IS NULL)\n    AND "
    ).format(**terms)
    needless = sql.SQL("{empty} AND ({filled} > 0 OR {pending} IS NOT NULL)").format(**terms)
    return [
        _Trigger("INSERT", "due", broken),
        _Trigger("INSERT", "empty", needless),
        _Trigger("UPDATE", "due", touched + broken),
        _Trigger("UPDATE", "empty", needless),
    ]


def _source_changed(declaration: Declaration) -> sql.Composed:
    return sql.SQL(" OR ").join(
        sql.SQL('{}::text COLLATE "C" IS DISTINCT FROM {}::text').format(
            sql.Identifier("old", column), sql.Identifier("new", column)
        )
        for column in declaration.source
    )
