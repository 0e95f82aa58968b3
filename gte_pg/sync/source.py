"""Where a row's text is, as seen from the row that holds its vector.

In every statement here `d` is the row with the vector. In the layout "columns" it has the text too;
a companion row finds it in the user's row `s` of the same key.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration import Declaration, row_hash

_SAME_ROW = sql.SQL("(SELECT {value} FROM {relation} AS s WHERE {same_key})")


def text_row(declaration: Declaration) -> str:
    """Return the alias of the row that has the text."""
    return "d" if declaration.companion is None else "s"


def join_source(declaration: Declaration) -> sql.Composable:
    """Return the join that brings the row with the text, where it is not the same."""
    if declaration.companion is None:
        return sql.SQL("")
    return sql.SQL("LEFT JOIN {} AS s ON {}").format(declaration.relation, same_key(declaration))


def same_key(declaration: Declaration) -> sql.Composed:
    """Whether `s` is the row that the companion row `d` belongs to."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier("s", c.name), sql.Identifier("d", c.name))
        for c in declaration.key
    )


def row_version(declaration: Declaration) -> sql.Composable:
    """Return what tells a companion row from its state before: a row with its text needs no such thing.

    The table's own id is in it: companions exchange their names when a model is switched.
    """
    if declaration.companion is None:
        return sql.SQL("''::text")
    return sql.SQL("d.tableoid || ' ' || {}").format(
        sql.Identifier("d", declaration.version_column)
    )


def source_hash(declaration: Declaration) -> sql.Composable:
    """Return the hash of the present text of `d`, without a join; empty where there is no text."""
    found: sql.Composable = row_hash(declaration, "d")
    if declaration.companion is not None:
        found = _SAME_ROW.format(
            value=row_hash(declaration, "s"),
            relation=declaration.relation,
            same_key=same_key(declaration),
        )
    return sql.SQL("coalesce({}, '')").format(found)
