"""Capture where the vectors are on the row: BEFORE triggers that mend a row before it is stored.

Four watch for a row that would break the invariant (INSERT and UPDATE, with text and without) and one
function mends it: it empties the vector and sets `pending`. Nobody can store a stale vector: not a
slow worker, not an application that writes its own, not a copied row.

A fifth, `restore`, keeps the write-back from changing anything else: an application's own trigger that
stamps `updated_at` on every UPDATE has fired by then, and its work is undone.

What a single-row statement pays for a trigger is the parsing of its condition, so those on UPDATE are
for statements that name a source or a column of the embedding. A trigger of the application may change
the text all the same: the `guard` looks at every updated row when all is done, and has such a row
looked at by the others.

The conditions name every column, so Postgres follows a renamed source column; the functions' bodies
name only the embedding's own.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.text import row_hash, row_is_empty
from gte_pg.declaration.trigger import Trigger, source_changed

# The transaction-local setting under which a worker writes vectors back. Its value is the embedding's
# name, so that two embeddings of one table do not undo each other's.
WRITE_BACK_SETTING = "gte.write_back"

_FUNCTION = sql.SQL("""\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
    given record := NEW;
BEGIN
    IF TG_ARGV[0] = 'restore' THEN
        NEW := OLD;
        {take}
{keep}    ELSE
        {clear}
        NEW.{pending} := CASE TG_ARGV[0] WHEN 'due' THEN now() END;
    END IF;
    RETURN NEW;
END
$body$""")

# The vector of the old text stays, marked, unless somebody has touched it.
_KEEP = sql.SQL("""\
    ELSIF TG_OP = 'UPDATE' AND TG_ARGV[0] = 'due' AND {filled} = {all} AND NEW.{hash} = OLD.{hash} THEN
        NEW.{pending} := coalesce(OLD.{pending}, now());
""")

# It runs with its owner's rights: the application's role may have none on the embedding's columns.
_GUARD = sql.SQL("""\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    EXECUTE (
        SELECT format({touch}, TG_RELID::regclass,
                      string_agg(format('%1$I = ($1).%1$I', a.attname), ' AND '))
        FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
        WHERE i.indrelid = TG_RELID AND i.indisprimary
    ) USING NEW;
    RETURN NULL;
END
$body$""")


def row_capture_functions(
    declaration: Declaration, function: sql.Identifier, guard: sql.Identifier
) -> list[sql.Composed]:
    def assign(columns: tuple[str, ...], value: str) -> sql.Composed:
        template = sql.SQL(f"NEW.{{column}} := {value};")
        lines = [template.format(column=sql.Identifier(column)) for column in columns]
        return sql.SQL("\n        ").join(lines)

    terms = _terms(declaration)
    pending = sql.Identifier(declaration.pending_column)
    stored_hash = sql.Identifier(declaration.hash_column)
    keeps = declaration.on_change == "keep"
    keep = _KEEP.format(filled=terms["filled"], all=terms["all"], hash=stored_hash, pending=pending)
    # Whoever names a column of the embedding has the row looked at.
    touch = sql.SQL("{} = now()").format(pending)
    if not keeps:
        touch = sql.SQL("{} = NULL").format(stored_hash)
    touch_row = sql.SQL("UPDATE %s SET {} WHERE %s").format(
        sql.SQL(touch.as_string().replace("%", "%%"))
    )
    return [
        _FUNCTION.format(
            function=function,
            take=assign(declaration.columns, "given.{column}"),
            keep=keep if keeps else sql.SQL(""),
            clear=assign(declaration.vector_columns, "NULL"),
            pending=pending,
        ),
        _GUARD.format(
            function=guard,
            touch=sql.Literal(touch_row.as_string()),
        ),
    ]


def row_capture_triggers(declaration: Declaration, postgres: int) -> list[Trigger]:
    """Return the triggers; in each condition what is cheap stands first.

    On INSERT the common row has text, no vector and the default `pending`: no hash is computed.
    On UPDATE of other columns of a finished row the sources are compared and nothing is hashed.
    """
    terms = _terms(declaration) | {"changed": source_changed(declaration, postgres)}
    broken = sql.SQL(
        "NOT ({filled} = 0 AND {pending} IS NOT NULL)\n"
        "    AND NOT {empty}\n"
        "    AND ({filled} <> {all} OR {new_hash} IS DISTINCT FROM {hash})"
    ).format(**terms)
    unmarked = sql.SQL("")
    if declaration.on_change == "keep":
        unmarked = sql.SQL("\n     OR {pending} IS NULL AND {old_pending} IS NOT NULL")
    touched = sql.SQL(
        "({changed}\n"
        "     OR {new_hash} IS DISTINCT FROM {old_hash}\n"
        "     OR {filled} NOT IN (0, {all})\n"
        "     OR {new_hash} IS NULL AND {pending} IS NULL{unmarked})\n    AND "
    ).format(**terms, unmarked=unmarked.format(**terms))
    needless = sql.SQL("{empty} AND ({filled} > 0 OR {pending} IS NOT NULL)").format(**terms)
    writing_back = sql.SQL("current_setting({}, true) = {}").format(
        sql.Literal(WRITE_BACK_SETTING), sql.Literal(declaration.name)
    )
    unseen = sql.SQL(
        "{pending} IS NULL AND {new_hash} IS NOT DISTINCT FROM {old_hash} AND ({changed})"
    ).format(**terms)
    if (declaration.template, declaration.expression) != (None, None):
        # Other values may well make the same text.
        unseen += sql.SQL(" AND {hash} IS DISTINCT FROM {new_hash}").format(**terms)
    own = declaration.columns
    named = (*declaration.source, *own)
    return [
        Trigger("insert_due", "BEFORE", "INSERT", broken, ("due",)),
        Trigger("insert_empty", "BEFORE", "INSERT", needless, ("empty",)),
        # What it restores is then checked like any other row.
        Trigger("restore", "BEFORE", "UPDATE", writing_back, ("restore",), own),
        Trigger("update_due", "BEFORE", "UPDATE", touched + broken, ("due",), named),
        Trigger("update_empty", "BEFORE", "UPDATE", needless, ("empty",), named),
        Trigger("guard", "AFTER", "UPDATE", unseen),
    ]


def _terms(declaration: Declaration) -> dict[str, sql.Composable]:
    filled = sql.SQL("num_nonnulls({})").format(
        sql.SQL(", ").join(sql.Identifier("new", name) for name in declaration.vector_columns)
    )
    return {
        "filled": filled,
        "all": sql.Literal(len(declaration.vector_columns)),
        "pending": sql.Identifier("new", declaration.pending_column),
        "old_pending": sql.Identifier("old", declaration.pending_column),
        "new_hash": sql.Identifier("new", declaration.hash_column),
        "old_hash": sql.Identifier("old", declaration.hash_column),
        "hash": row_hash(declaration, "new"),
        "empty": row_is_empty(declaration, "new"),
    }
