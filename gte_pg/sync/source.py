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


def row_mark(declaration: Declaration, row: str) -> sql.Composable:
    """Return what a failure of `row` is found again by, as long as its text is the same.

    That is the hash of the text, empty where there is none. An expression may raise: what tells the
    versions of the row apart can be had of every row.
    """
    if declaration.expression is None:
        return sql.SQL("coalesce({}, '')").format(row_hash(declaration, row))
    version = sql.Identifier(row, "xmin")
    return sql.SQL("coalesce(convert_to({}::text, 'UTF8'), '')").format(version)


def mark(declaration: Declaration) -> sql.Composable:
    """Return the mark of `d`, without a join."""
    if declaration.companion is None:
        return row_mark(declaration, "d")
    found = _SAME_ROW.format(
        value=row_mark(declaration, "s"),
        relation=declaration.relation,
        same_key=same_key(declaration),
    )
    return sql.SQL("coalesce({}, '')").format(found)
