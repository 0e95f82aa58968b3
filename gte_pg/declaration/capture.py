"""Capture: the triggers by which the database itself keeps the invariant.

    For every row: either the hash is that of the current text and the vector is that text's,
    or there is no vector and `pending` says since when one is due,
    or there is no text and nothing to do.

Four BEFORE ROW triggers watch for a row that would break it (INSERT and UPDATE, with text and
without) and one function mends the row: it empties the vector and sets `pending`. Nobody can store
a stale vector: not a slow worker, not an application that writes its own, not a copied row.

A fifth trigger keeps the write-back from changing anything else: an application's own trigger that
stamps `updated_at` on every UPDATE has fired by then, and its work is undone.

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

# The transaction-local setting under which a worker writes vectors back. Its value is the embedding's
# name, so that two embeddings of one table do not undo each other's.
WRITE_BACK_SETTING = "gte.write_back"

# From this version on Postgres tells without reading it whether an out-of-line value is unchanged.
_POSTGRES_WITH_TOAST_IDS = 17

_FUNCTION = sql.SQL("""\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    given record := NEW;
BEGIN
    IF TG_ARGV[0] = 'keep' THEN
        NEW := OLD;
        {take}
    ELSE
        {clear}
        NEW.{pending} := CASE TG_ARGV[0] WHEN 'due' THEN now() END;
    END IF;
    RETURN NEW;
END
$body$""")

_CHANGED = sql.SQL('{old}::text COLLATE "C" IS DISTINCT FROM {new}::text')

_CHANGED_TOASTED = sql.SQL("""\
((pg_column_toast_chunk_id({old}) IS NULL
      OR pg_column_toast_chunk_id({old}) IS DISTINCT FROM pg_column_toast_chunk_id({new}))
     AND {old}::text COLLATE "C" IS DISTINCT FROM {new}::text)""")

_TRIGGER = sql.SQL("""\
CREATE TRIGGER {trigger} BEFORE {event} ON {relation}
FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {function}({argument})""")


@dataclass(frozen=True, slots=True)
class _Trigger:
    """`name` decides the order: what "keep" restores is then checked like any other row."""

    name: Literal["insert_due", "insert_empty", "keep", "update_due", "update_empty"]
    event: Literal["INSERT", "UPDATE"]
    argument: Literal["due", "empty", "keep"]
    condition: sql.Composed

    def identifier(self, declaration: Declaration) -> sql.Identifier:
        return sql.Identifier(object_name("~gte", declaration.name, self.name))


def create_capture(declaration: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Create the function and the triggers, for a server of this major version.

    The caller's transaction makes it all or nothing.
    """
    function = _function(declaration)

    def assign(columns: tuple[str, ...], value: str) -> sql.Composed:
        template = sql.SQL(f"NEW.{{column}} := {value};")
        lines = [template.format(column=sql.Identifier(column)) for column in columns]
        return sql.SQL("\n        ").join(lines)

    statements = [
        _FUNCTION.format(
            function=function,
            take=assign(declaration.columns, "given.{column}"),
            clear=assign(declaration.vector_columns, "NULL"),
            pending=sql.Identifier(declaration.pending_column),
        )
    ]
    for trigger in _triggers(declaration, postgres):
        statements.append(
            _TRIGGER.format(
                trigger=trigger.identifier(declaration),
                event=sql.SQL(trigger.event),
                relation=declaration.relation,
                condition=trigger.condition,
                function=function,
                argument=sql.Literal(trigger.argument),
            )
        )
        statements.append(
            sql.SQL("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}").format(
                declaration.relation, trigger.identifier(declaration)
            )
        )
    return statements


def drop_capture(declaration: Declaration) -> list[sql.Composed]:
    """Drop the triggers, then their function."""
    return [
        *(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                trigger.identifier(declaration), declaration.relation
            )
            for trigger in _triggers(declaration, _POSTGRES_WITH_TOAST_IDS)
        ),
        sql.SQL("DROP FUNCTION IF EXISTS {}()").format(_function(declaration)),
    ]


def _function(declaration: Declaration) -> sql.Identifier:
    parts = [*filter(None, (declaration.schema,)), declaration.table, declaration.name]
    return sql.Identifier("gte", object_name(*parts, "capture"))


def _triggers(declaration: Declaration, postgres: int) -> list[_Trigger]:
    """Return the triggers; in each condition what is cheap stands first.

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
        "changed": _source_changed(declaration, postgres),
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
    writing_back = sql.SQL("current_setting({}, true) = {}").format(
        sql.Literal(WRITE_BACK_SETTING), sql.Literal(declaration.name)
    )
    return [
        _Trigger("insert_due", "INSERT", "due", broken),
        _Trigger("insert_empty", "INSERT", "empty", needless),
        _Trigger("keep", "UPDATE", "keep", writing_back),
        _Trigger("update_due", "UPDATE", "due", touched + broken),
        _Trigger("update_empty", "UPDATE", "empty", needless),
    ]


def _source_changed(declaration: Declaration, postgres: int) -> sql.Composed:
    """Whether a source column has another value; bytes are compared, whatever the collation."""
    changed = _CHANGED
    if postgres >= _POSTGRES_WITH_TOAST_IDS:
        changed = _CHANGED_TOASTED
    return sql.SQL(" OR ").join(
        changed.format(old=sql.Identifier("old", column), new=sql.Identifier("new", column))
        for column in declaration.source
    )
