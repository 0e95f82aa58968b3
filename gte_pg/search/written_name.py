"""The name of a table as a text within a statement, which a `schema_translate_map` may change."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

# A translated schema is put in when the statement runs, quoted as a name: it must stand where a name does.
# The key of a JSON object makes a text of it.
_TRANSLATED = (
    "quote_ident((SELECT json_object_keys(row_to_json(named)) FROM (SELECT NULL AS {schema}) AS named))"
    " || {name}"
)


class WrittenName(sa.ColumnElement[str]):
    """The name of a table as SQL writes it, in the schema in which the statement finds it."""

    type = sa.Text()
    _traverse_internals = [("table", InternalTraversal.dp_has_cache_key)]  # noqa: RUF012

    def __init__(self, table: sa.Table) -> None:
        self.table = table


@compiles(WrittenName)
def _write(element: WrittenName, compiler: SQLCompiler, **_: Any) -> str:
    preparer, table = compiler.preparer, element.table
    schema = preparer.schema_for_object(table)
    if schema == table.schema:
        return quoted(preparer.format_table(table))
    name = quoted("." + preparer.format_table(table, use_schema=False))
    return _TRANSLATED.format(schema=schema, name=name)


def quoted(text: str) -> str:
    """Return a text as an SQL literal, for what belongs to the statement and is not given to it."""
    return "'" + text.replace("'", "''") + "'"
