"""The columns that an embedding adds to its table."""

from __future__ import annotations

from psycopg import sql

from gte_pg.declaration.declaration import Declaration


def add_columns(declaration: Declaration) -> list[sql.Composed]:
    """Add the columns and make every existing row pending, without rewriting the table.

    The constant default '-infinity' marks the rows that are there now: they sort before anything
    newer, so that a backfill does not delay fresh rows. The default for later rows is now().
    """
    types = [
        (declaration.dense_column, f"{declaration.storage}({declaration.dimensions})"),
        (declaration.sparse_column, f"sparsevec({declaration.sparse_dimensions})"),
        (declaration.hash_column, "bytea"),
        (declaration.pending_column, "timestamptz DEFAULT '-infinity'"),
    ]
    added = sql.SQL(", ").join(
        sql.SQL("ADD COLUMN {} {}").format(
            sql.Identifier(name),
            sql.SQL(kind),
        )
        for name, kind in types
        if name in declaration.columns
    )
    return [
        sql.SQL("ALTER TABLE {} {}").format(declaration.relation, added),
        sql.SQL("ALTER TABLE {} ALTER COLUMN {} SET DEFAULT now()").format(
            declaration.relation, sql.Identifier(declaration.pending_column)
        ),
    ]


def drop_columns(declaration: Declaration) -> sql.Composed:
    """Drop the embedding's columns and with them its indexes."""
    return sql.SQL("ALTER TABLE {} {}").format(
        declaration.relation,
        sql.SQL(", ").join(
            sql.SQL("DROP COLUMN IF EXISTS {}").format(sql.Identifier(name))
            for name in declaration.columns
        ),
    )
