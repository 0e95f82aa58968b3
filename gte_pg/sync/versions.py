"""What tells whether a row is still what it was: its version, and the mark that a failure leaves.

In every statement here `d` is the row with the vector, see gte_pg/declaration/source.py.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration import Declaration, row_hash, same_key

_SAME_ROW = sql.SQL("(SELECT {value} FROM {relation} AS s WHERE {same_key})")


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
    return sql.SQL("coalesce(pg_catalog.convert_to({}::text, 'UTF8'), '')").format(version)


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
