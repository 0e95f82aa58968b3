"""Change how the text of a row is made, and what becomes of a vector when it changes; the model stays."""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from gte_pg.database import change
from gte_pg.declaration import (
    WRITE_BACK_SETTING,
    Declaration,
    create_capture,
    drop_capture,
    key_text,
    row_hash,
    row_is_empty,
    same_key,
    text_row,
)
from gte_pg.declaration.trigger import function_body
from gte_pg.install.prepare import store_statements

# Rows that a policy hides are an error, and so are those whose UPDATE a trigger of the application
# suppresses or undoes: they would keep the vector of their former text. What its triggers do to other
# columns is undone, as when a vector is written back. A migration goes on in this transaction, as it was.
_MARK = sql.SQL("""\
DECLARE
    policies text := current_setting('row_security');
    suppressed text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a % transaction does not see what was written while it waited for the table',
            current_setting('transaction_isolation')
            USING ERRCODE = 'active_sql_transaction',
                  HINT = 'Nothing is altered. Do it in a READ COMMITTED transaction.';
    END IF;
    PERFORM set_config('row_security', 'off', true), set_config({write_back}, {name}, true);
    WITH changed AS MATERIALIZED (
        SELECT d.tableoid AS part, d.ctid AS place, {key} AS key, {empty} AS empty
        FROM {rows} WHERE {changed}
    ), marked AS (
        UPDATE {vectors} AS d SET {assignments} FROM changed AS c
        WHERE d.tableoid = c.part AND d.ctid = c.place
        RETURNING c.key, {is_right} AS is_right
    )
    SELECT key INTO suppressed FROM (
        SELECT key FROM changed EXCEPT SELECT key FROM marked WHERE is_right
    ) AS missed;
    IF FOUND THEN
        RAISE EXCEPTION {problem}, suppressed
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = {hint};
    END IF;
    PERFORM set_config('row_security', policies, true), set_config({write_back}, '', true);
END""")

# A row that is pending already may still have the vector of a former text, where such were kept.
_CHANGED = sql.SQL(
    "CASE WHEN {pending} IS NULL THEN {hash} IS DISTINCT FROM {stored} "
    "ELSE {empty} OR NOT {keeps} AND {stored} IS NOT NULL END"
)


# What the triggers have made of it in the end.
_IS_RIGHT = sql.SQL(
    "CASE WHEN c.empty THEN {dense} IS NULL ELSE {pending} IS NOT NULL AND ({keeps} OR {dense} IS NULL) END"
)


def is_alterable(present: Declaration, wanted: Declaration) -> bool:
    """Whether the stored vectors are those of the other declaration too, where the text is the same."""
    return wanted == replace(
        present,
        source=wanted.source,
        template=wanted.template,
        expression=wanted.expression,
        on_change=wanted.on_change,
        index_dimensions=wanted.index_dimensions,
        model=wanted.model,
    )


def is_other_index(present: Declaration, wanted: Declaration) -> bool:
    """Whether all that differs is how much of each vector the dense index holds."""
    same = replace(present, index_dimensions=wanted.index_dimensions, model=wanted.model)
    return present.index_dimensions != wanted.index_dimensions and wanted == same


def index_statements(wanted: Declaration) -> list[sql.Composed]:
    """Return the statements that declare another dense index: neither table nor rows are touched."""
    return [change(wanted), store_statements(wanted)]


def alter_statements(wanted: Declaration, *, postgres: int) -> list[sql.Composed]:
    """Return the statements that make an embedding what is wanted, for one transaction.

    Rows whose text stays the same keep their vectors; the others become pending, in one UPDATE, which
    reads the whole table.
    """
    return [
        *drop_capture(wanted),
        *create_capture(wanted, postgres=postgres),
        *index_statements(wanted),
        _mark(wanted),
    ]


def _mark(declaration: Declaration) -> sql.Composed:
    row = text_row(declaration)
    keeps = declaration.on_change == "keep"
    rows: sql.Composable = sql.SQL("{} AS d").format(declaration.vectors)
    if declaration.companion is not None:
        rows = sql.SQL("{} JOIN {} AS s ON {}").format(
            rows, declaration.relation, same_key(declaration)
        )
    empty = row_is_empty(declaration, row)
    changed = _CHANGED.format(
        pending=sql.Identifier("d", declaration.pending_column),
        empty=empty,
        hash=row_hash(declaration, row),
        stored=sql.Identifier("d", declaration.hash_column),
        keeps=sql.Literal(keeps),
    )
    vectors = declaration.vectors.as_string()
    body = _MARK.format(
        write_back=sql.Literal(WRITE_BACK_SETTING),
        name=sql.Literal(declaration.name),
        key=key_text(declaration, "d"),
        empty=empty,
        rows=rows,
        changed=changed,
        vectors=declaration.vectors,
        assignments=_assignments(declaration),
        is_right=_IS_RIGHT.format(
            dense=sql.Identifier("d", declaration.dense_column),
            pending=sql.Identifier("d", declaration.pending_column),
            keeps=sql.Literal(keeps),
        ),
        problem=sql.Literal(
            f"the row with the key % of {vectors.replace('%', '%%')} cannot be marked as pending: "
            "a trigger suppresses or undoes its UPDATE"
        ),
        hint=sql.Literal(
            f"Nothing is altered. Disable the trigger (ALTER TABLE {vectors} DISABLE TRIGGER …), alter "
            "again, and enable it."
        ),
    )
    return sql.SQL("DO {}").format(function_body(body))


def _assignments(declaration: Declaration) -> sql.Composed:
    """Return what marks a row as pending; the triggers do the rest, where they are on that row."""
    keeps = declaration.on_change == "keep"
    values: list[tuple[str, str]]
    if declaration.companion is None:
        values = [(declaration.pending_column, "now()")]
        if not keeps:
            values.append((declaration.hash_column, "NULL"))
    else:
        kept = "CASE WHEN NOT c.empty THEN d.{column} END" if keeps else "NULL"
        values = [
            (declaration.pending_column, "CASE WHEN NOT c.empty THEN now() END"),
            (declaration.version_column, "d.{column} + 1"),
            *((name, kept) for name in declaration.vector_columns),
        ]
    return sql.SQL(", ").join(
        sql.SQL("{column} = " + value).format(column=sql.Identifier(name)) for name, value in values
    )
