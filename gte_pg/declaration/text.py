"""The text of a row and its hash: one definition in SQL and its twin in Python.

    text = the source columns that are neither NULL nor empty, joined by a newline; NULL if none
           or the lines of a template, or the value of a SQL expression, which has no twin
    hash = the first 16 bytes of sha256(generation ‖ ':' ‖ text); NULL if there is no text

The hash covers the generation as well, so one column says which text *and* which model a vector
belongs to. Only functions of pg_catalog are used: a trigger's WHEN clause can hold the expression,
and a role that writes to the table needs no right on anything of gte-pg's. Those that take values of any
type are named with their schema: somebody's own, for the very type, would be the better match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from psycopg import sql

from gte_pg.declaration.declaration import Declaration
from gte_pg.declaration.template import Column, Part, fill, lines, parse

_HASH_BYTES = 16


def join_texts(values: Iterable[str | None]) -> str | None:
    """Return the text of a row from the values of its source columns, in their order."""
    return "\n".join(value for value in values if value) or None


def written_text(declaration: Declaration, values: Mapping[str, str | None]) -> str | None:
    """Return the text of a row with these values in its source columns."""
    if declaration.template is not None:
        return fill(declaration.template, values)
    return join_texts(values[column] for column in declaration.source)


def text_hash(generation: str, text: str) -> bytes:
    """Return the 16 bytes that stand in the hash column of a row with this text."""
    return hashlib.sha256(f"{generation}:{text}".encode()).digest()[:_HASH_BYTES]


def row_is_empty(declaration: Declaration, row: str) -> sql.Composed:
    """Whether `row` has no text at all; reads no out-of-line value, unless an expression does."""
    if declaration.expression is not None:
        return sql.SQL("{} IS NULL").format(row_text(declaration, row))
    return sql.SQL("pg_catalog.num_nonnulls({}) = 0").format(_values(declaration.source, row))


def row_text(declaration: Declaration, row: str) -> sql.Composed:
    """Return the text of `row`, or NULL."""
    if declaration.expression is not None:
        written = sql.SQL("").join(
            sql.SQL(part) if isinstance(part, str) else sql.Identifier(row, part.name)
            for part in parse(declaration.expression)
        )
        return sql.SQL("nullif(({})::text COLLATE \"C\", '')").format(written)
    if declaration.template is None:
        joined = sql.SQL("pg_catalog.concat_ws(E'\\n', {})").format(
            _values(declaration.source, row)
        )
        return sql.SQL("nullif({}, '')").format(joined)
    return sql.SQL(
        "CASE WHEN pg_catalog.num_nonnulls({}) > 0 THEN pg_catalog.concat_ws(E'\\n', {}) END"
    ).format(
        _values(declaration.source, row),
        sql.SQL(", ").join(_line(line, row) for line in lines(declaration.template)),
    )


def _line(line: list[Part], row: str) -> sql.Composable:
    """Return a line of a template, NULL where all of its columns are empty."""
    columns = [part.name for part in line if isinstance(part, Column)]
    if len(line) == 1 and columns:
        return _value(columns[0], row)
    if not columns:
        return sql.Literal("".join(part for part in line if isinstance(part, str)))
    written = sql.SQL(", ").join(
        sql.Literal(part) if isinstance(part, str) else _value(part.name, row) for part in line
    )
    return sql.SQL(
        "CASE WHEN pg_catalog.num_nonnulls({}) > 0 THEN pg_catalog.concat({}) END"
    ).format(_values(columns, row), written)


def _values(columns: Iterable[str], row: str) -> sql.Composed:
    return sql.SQL(", ").join(_value(column, row) for column in columns)


def _value(column: str, row: str) -> sql.Composed:
    """Return a column of `row` (an alias; new or old in a trigger) as text, NULL where it is empty.

    The "C" collation compares bytes: a non-deterministic collation may call different texts equal.
    """
    return sql.SQL("nullif({}::text COLLATE \"C\", '')").format(sql.Identifier(row, column))


def row_hash(declaration: Declaration, row: str) -> sql.Composed:
    """Return the hash of the text of `row`, or NULL."""
    return sql.SQL("substr(sha256(pg_catalog.convert_to({} || {}, 'UTF8')), 1, {})").format(
        sql.Literal(declaration.generation + ":"),
        row_text(declaration, row),
        sql.Literal(_HASH_BYTES),
    )
