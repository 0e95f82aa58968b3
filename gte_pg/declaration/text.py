"""The text of a row and its hash: one definition in SQL and its twin in Python.

    text = the source columns that are neither NULL nor empty, joined by a newline; NULL if none
    hash = the first 16 bytes of sha256(generation ‖ ':' ‖ text); NULL if there is no text

The hash covers the generation as well, so one column says which text *and* which model a vector
belongs to. Only functions of pg_catalog are used: a trigger's WHEN clause can hold the expression,
and a role that writes to the table needs no right on anything of gte-pg's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from psycopg import sql

from gte_pg.declaration.declaration import Declaration

_HASH_BYTES = 16


def join_texts(values: Iterable[str | None]) -> str | None:
    """Return the text of a row from the values of its source columns, in their order."""
    return "\n".join(value for value in values if value) or None


def text_hash(generation: str, text: str) -> bytes:
    """Return the 16 bytes that stand in the hash column of a row with this text."""
    return hashlib.sha256(f"{generation}:{text}".encode()).digest()[:_HASH_BYTES]


def source_values(declaration: Declaration, row: str) -> list[sql.Composable]:
    """Each source column of `row` (an alias; new or old in a trigger) as text, NULL where it is empty.

    The "C" collation compares bytes: a non-deterministic collation may call different texts equal.
    """
    return [
        sql.SQL("nullif({}::text COLLATE \"C\", '')").format(sql.Identifier(row, column))
        for column in declaration.source
    ]


def row_is_empty(declaration: Declaration, row: str) -> sql.Composed:
    """Whether `row` has no text at all; reads no out-of-line value."""
    return sql.SQL("num_nonnulls({}) = 0").format(
        sql.SQL(", ").join(source_values(declaration, row))
    )


def row_text(declaration: Declaration, row: str) -> sql.Composed:
    """Return the text of `row`, or NULL."""
    return sql.SQL("nullif(concat_ws(E'\\n', {}), '')").format(
        sql.SQL(", ").join(source_values(declaration, row))
    )


def row_hash(declaration: Declaration, row: str) -> sql.Composed:
    """Return the hash of the text of `row`, or NULL."""
    return sql.SQL("substr(sha256(convert_to({} || {}, 'UTF8')), 1, {})").format(
        sql.Literal(declaration.generation + ":"),
        row_text(declaration, row),
        sql.Literal(_HASH_BYTES),
    )
