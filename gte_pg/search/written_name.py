"""The name of a table as a text within a statement, which a `schema_translate_map` may change."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from gte_pg.search.quoted import quoted


class WrittenName(sa.ColumnElement[str]):
    """The name of a table as SQL writes it, in the schema in which the statement finds it."""

    type = sa.Text()
    _traverse_internals = [("table", InternalTraversal.dp_has_cache_key)]  # noqa: RUF012

    def __init__(self, table: sa.Table) -> None:
        self.table = table


@compiles(WrittenName)
def _write(element: WrittenName, compiler: SQLCompiler, **_: Any) -> str:
    preparer, table = compiler.preparer, element.table
    name = preparer.format_table(table)
    if preparer.schema_for_object(table) == table.schema:
        return quoted(name)
    # A translated schema is put in when the statement runs, quoted as a name: a table is a type, too.
    return f"pg_typeof(NULL::{name})::text"
