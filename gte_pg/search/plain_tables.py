"""The tables of a declaration for use in a statement, with the columns that a search needs.

They are SQLAlchemy's `Table`, of no metadata of anybody's, so that a `schema_translate_map` holds for
them as it does for the table of a mapped class.
"""

from __future__ import annotations

import functools

import sqlalchemy as sa

from gte_pg.declaration import Declaration


def plain_table(declaration: Declaration) -> sa.Table:
    """Return the user's table, every name quoted as it stands."""
    return called(declaration, tuple(filter(None, (declaration.schema, declaration.table))))


def plain_vectors(declaration: Declaration) -> sa.Table:
    """Return the table that holds the vectors, every name quoted as it stands."""
    if declaration.companion is None:
        return plain_table(declaration)
    return called(declaration, declaration.companion)


# SQLAlchemy keeps the text of a statement by the identity of the tables in it.
@functools.lru_cache(maxsize=256)
def called(declaration: Declaration, path: tuple[str, ...]) -> sa.Table:
    """Return a table with the embedding's columns that is called so, its schema first."""
    *schema, name = (sa.quoted_name(part, quote=True) for part in path)
    columns = [*(column.name for column in declaration.key), *declaration.columns]
    return sa.Table(
        name,
        sa.MetaData(),
        *(sa.Column(sa.quoted_name(column, quote=True)) for column in columns),
        schema=schema[0] if schema else None,
    )
