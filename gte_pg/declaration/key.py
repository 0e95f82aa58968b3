"""The key of a row as one text, for every kind of primary key.

A key of one column is the column's own text (`42`); a composite key is a JSON array of texts
(`["eu", "42"]`). Leases, failures and callers name rows in this form whatever the table's key is.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration


def key_text(declaration: Declaration, row: str) -> sql.Composed:
    """Return the key of `row` as one text."""
    values = [sql.SQL("{}::text").format(sql.Identifier(row, c.name)) for c in declaration.key]
    if len(values) == 1:
        return values[0]
    return sql.SQL("json_build_array({})::text").format(sql.SQL(", ").join(values))


def key_values(declaration: Declaration, key: sql.Composable) -> list[sql.Composed]:
    """Return the values of the key columns from the key text `key`, each of its column's type."""
    if len(declaration.key) == 1:
        values = [key]
    else:
        values = [
            sql.SQL("({}::json ->> {})").format(key, sql.Literal(i))
            for i in range(len(declaration.key))
        ]
    return [
        sql.SQL("{}::{}").format(value, sql.SQL(column.type))
        for column, value in zip(declaration.key, values, strict=True)
    ]


def key_join(declaration: Declaration, row: str, key: sql.Composable) -> sql.Composed:
    """Return the condition that `row` has the key text `key`, in a form that its key index serves."""
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(sql.Identifier(row, column.name), value)
        for column, value in zip(declaration.key, key_values(declaration, key), strict=True)
    )


def key_order(declaration: Declaration, row: str) -> sql.Composed:
    """Return the key columns of `row`, comma-separated, for ORDER BY."""
    return sql.SQL(", ").join(sql.Identifier(row, column.name) for column in declaration.key)
