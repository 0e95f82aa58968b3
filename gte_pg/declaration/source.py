"""Where a row's text is, as seen from the row that holds its vector.

In every statement here `d` is the row with the vector. In the layout "columns" it has the text too;
a companion row finds it in the user's row `s` of the same key.
"""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration


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
