"""Capture where the vectors are on the row: BEFORE triggers that mend a row before it is stored.

One function mends it: vectors that are not the text's are emptied and the row is marked `pending`.
Nobody can store a stale vector: not a slow worker, not an application that writes its own, not a
copied row. Triggers call it where it might have something to do, so that an INSERT of text and an UPDATE of
other columns pay for one condition: what a single statement pays for it is its parsing. It looks at the
row, not at what the statement names: an application's own trigger may have changed it.

The conditions name every column, so Postgres follows a renamed source column. The function knows it by
the name that it had: from then on every row it is called for counts as changed, and a worker says that
the column is gone.

A write-back changes nothing but the embedding's columns: an application's own trigger that stamps
`updated_at` on every UPDATE has fired by then, and its work is undone; not so what an UPDATE does that such
a trigger runs.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.text import row_hash, row_is_empty
from gte_pg.declaration.trigger import Trigger, function_body, pinned_settings, source_changed

# The transaction-local setting under which a worker writes vectors back. Its value is the embedding's
# name, so that two embeddings of one table do not undo each other's.
WRITE_BACK_SETTING = "gte.write_back"

_FUNCTION = sql.SQL("""\
CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
{settings} AS {body}""")

_BODY = sql.SQL("""DECLARE
    given record;
    filled integer := {filled};
    due timestamptz := now();
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting({write_back}, true) = {name} AND pg_trigger_depth() = 1 THEN
        given := NEW;
        NEW := OLD;
        {take}
    END IF;
    BEGIN
        IF {empty} THEN
            due := NULL;
        ELSIF filled = 0 AND {pending} IS NOT NULL
            OR filled = {all} AND {not_known_to_differ}{stored_hash} = {hash} THEN
            RETURN NEW;
        END IF;
    EXCEPTION WHEN undefined_column THEN
        NULL;
    END;
{keep}    {clear}
    {pending} := due;
    RETURN NEW;
END""")

# The vector of the old text stays, marked, unless somebody has touched it.
_KEEP = sql.SQL("""\
    IF TG_OP = 'UPDATE' AND due IS NOT NULL AND filled = {all} AND {stored_hash} = OLD.{hash_column} THEN
        {pending} := coalesce(OLD.{pending_column}, due);
        RETURN NEW;
    END IF;
""")

# The hash of other text is another one, which need not be computed to be told apart.
_NOT_KNOWN_TO_DIFFER = sql.SQL(
    "({stored_hash} IS DISTINCT FROM OLD.{hash_column} OR NOT ({changed})) AND "
)


def row_capture_function(
    declaration: Declaration, function: sql.Identifier, postgres: int
) -> sql.Composed:
    body = row_capture_body(declaration, postgres)
    return _FUNCTION.format(
        function=function, settings=pinned_settings(body), body=function_body(body)
    )


def row_capture_body(declaration: Declaration, postgres: int) -> sql.Composed:
    def assign(columns: tuple[str, ...], value: str) -> sql.Composed:
        template = sql.SQL(f"NEW.{{column}} := {value};")
        lines = [template.format(column=sql.Identifier(column)) for column in columns]
        return sql.SQL("\n        ").join(lines)

    nothing: sql.Composable = sql.SQL("")
    terms = _terms(declaration) | {
        "hash_column": sql.Identifier(declaration.hash_column),
        "pending_column": sql.Identifier(declaration.pending_column),
        "changed": source_changed(declaration, postgres),
    }
    # Of several columns other values may well make the same text.
    column_is_text = (declaration.template, declaration.expression) == (None, None) and len(
        declaration.source
    ) == 1
    return _BODY.format(
        write_back=sql.Literal(WRITE_BACK_SETTING),
        name=sql.Literal(declaration.name),
        take=assign(declaration.columns, "given.{column}"),
        keep=_KEEP.format(**terms) if declaration.on_change == "keep" else nothing,
        not_known_to_differ=_NOT_KNOWN_TO_DIFFER.format(**terms) if column_is_text else nothing,
        clear=assign(declaration.vector_columns, "NULL"),
        hash=row_hash(declaration, "new"),
        **terms,
    )


def row_capture_triggers(declaration: Declaration, postgres: int) -> list[Trigger]:
    """Return the triggers, in the order in which they fire."""
    # The common row has text, no vector, and is pending by default.
    uncommon = sql.SQL("{filled} > 0 OR {pending} IS NULL OR {empty}").format(**_terms(declaration))
    waiting = sql.SQL("{pending} IS NOT NULL AND {empty}").format(**_terms(declaration))
    return [
        Trigger("insert", "BEFORE", "INSERT", uncommon),
        # A worker takes a row without text off the list, also where the application's trigger undoes that.
        Trigger("empty", "BEFORE", "UPDATE", waiting, columns=(declaration.pending_column,)),
        Trigger("update", "BEFORE", "UPDATE", _is_touched(declaration, postgres)),
    ]


def _is_touched(declaration: Declaration, postgres: int) -> sql.Composed:
    """Whether the text is another one, or the vectors may be: what has the same hash is the same."""

    def filled(row: str) -> sql.Composed:
        names = declaration.vector_columns[:-1]
        return sql.SQL(", ").join(sql.Identifier(row, name) for name in names)

    return sql.SQL(
        "{changed} OR ({old_hash}, {old_pending}) IS DISTINCT FROM ({new_hash}, {new_pending}) "
        "OR pg_catalog.num_nonnulls({old_vectors}) <> pg_catalog.num_nonnulls({new_vectors})"
    ).format(
        changed=source_changed(declaration, postgres),
        old_hash=sql.Identifier("old", declaration.hash_column),
        new_hash=sql.Identifier("new", declaration.hash_column),
        old_pending=sql.Identifier("old", declaration.pending_column),
        new_pending=sql.Identifier("new", declaration.pending_column),
        old_vectors=filled("old"),
        new_vectors=filled("new"),
    )


def _terms(declaration: Declaration) -> dict[str, sql.Composable]:
    filled = sql.SQL("pg_catalog.num_nonnulls({})").format(
        sql.SQL(", ").join(sql.Identifier("new", name) for name in declaration.vector_columns)
    )
    return {
        "filled": filled,
        "all": sql.Literal(len(declaration.vector_columns)),
        "pending": sql.Identifier("new", declaration.pending_column),
        "stored_hash": sql.Identifier("new", declaration.hash_column),
        "empty": row_is_empty(declaration, "new"),
    }
