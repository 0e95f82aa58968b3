"""Change how the text of a row is made, and what becomes of a vector when it changes; the model stays."""

from __future__ import annotations

from dataclasses import replace

from psycopg import sql

from gte_pg.database import change
from gte_pg.declaration import (
    Declaration,
    create_capture,
    drop_capture,
    row_hash,
    row_is_empty,
)
from gte_pg.install.prepare import store_statements

# The triggers do the rest: they take the vector away, or leave a row without text alone.
_MARK_ROWS = sql.SQL("""\
UPDATE {vectors} AS d SET {clear}{pending} = now()
WHERE {changed}""")

_MARK_COMPANION = sql.SQL("""\
UPDATE {vectors} AS d
SET {clear}{pending} = CASE WHEN NOT {empty} THEN now() END, {version} = d.{version} + 1
FROM {relation} AS s
WHERE {same_key} AND ({changed})""")

# A row that is pending already may still have the vector of a former text, where such were kept.
_CHANGED = sql.SQL(
    "CASE WHEN d.{pending} IS NULL THEN {hash} IS DISTINCT FROM d.{stored} "
    "ELSE {empty} OR NOT {keeps} AND d.{stored} IS NOT NULL END"
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


def alter_statements(
    present: Declaration, wanted: Declaration, *, postgres: int
) -> list[sql.Composed]:
    """Return the statements that make one declaration the other, for one transaction.

    Rows whose text stays the same keep their vectors; the others become pending, in one UPDATE, which
    reads the whole table. What the dense index holds is no matter of rows: that leaves them alone.
    """
    noted = [change(wanted), store_statements(wanted)]
    if _is_other_index(present, wanted):
        return noted
    capture = [*drop_capture(present), *create_capture(wanted, postgres=postgres)]
    return [*capture, *noted, _mark(wanted)]


def _is_other_index(present: Declaration, wanted: Declaration) -> bool:
    same = replace(present, index_dimensions=wanted.index_dimensions, model=wanted.model)
    return present.index_dimensions != wanted.index_dimensions and wanted == same


def _mark(declaration: Declaration) -> sql.Composed:
    companion = declaration.companion is not None
    row = "s" if companion else "d"
    keeps = declaration.on_change == "keep"
    cleared = declaration.vector_columns if companion else (declaration.hash_column,)
    value = sql.SQL("CASE WHEN NOT {} THEN d.{} END" if companion and keeps else "NULL")
    clear = [
        sql.SQL("{} = {}, ").format(
            sql.Identifier(name),
            value.format(row_is_empty(declaration, row), sql.Identifier(name)),
        )
        for name in cleared
    ]
    terms = {
        "pending": sql.Identifier(declaration.pending_column),
        "empty": row_is_empty(declaration, row),
    }
    return (_MARK_COMPANION if companion else _MARK_ROWS).format(
        vectors=declaration.vectors,
        relation=declaration.relation,
        clear=sql.SQL("").join(clear if companion or not keeps else ()),
        version=sql.Identifier(declaration.version_column),
        changed=_CHANGED.format(
            **terms,
            hash=row_hash(declaration, row),
            stored=sql.Identifier(declaration.hash_column),
            keeps=sql.Literal(keeps),
        ),
        same_key=sql.SQL(" AND ").join(
            sql.SQL("d.{0} = s.{0}").format(sql.Identifier(column.name))
            for column in declaration.key
        ),
        **terms,
    )
