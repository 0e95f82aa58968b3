"""`op.add_embedding` and its kin: what an application's migration says of an embedding.

An operation carries plain values, all that is needed, and no model: a migration means the same next
year, whatever the application's classes have become and wherever the model's files are by then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Required, TypedDict, Unpack

import sqlalchemy as sa
from alembic.operations import MigrateOperation, Operations
from psycopg import sql

from gte_pg.database import (
    ask,
    check_source_text,
    in_current_schema,
    load,
    plain_connection,
    postgres_version,
    registered_as,
    run,
)
from gte_pg.declaration import (
    Declaration,
    KeyColumn,
    Layout,
    OnChange,
    Storage,
    companion_name,
    drop_capture,
    index_names,
    named_columns,
    search_indexes,
)
from gte_pg.errors import DeclarationError
from gte_pg.install import (
    add_statements,
    alter_statements,
    prepare_database,
    remove_statements,
)

# Offline, the statements must suit any server that gte-pg supports.
_OLDEST_POSTGRES = 13

_NEEDS_SCHEMA = sql.SQL("""\
DO $gte$ BEGIN
    IF to_regclass('gte.embedding') IS NULL THEN
        RAISE EXCEPTION 'this database has no schema gte: run what gte-pg init --print-sql prints first';
    END IF;
END $gte$""")

_COLUMNS = sql.SQL(
    "SELECT dimensions, sparse_dimensions, storage, "
    "CASE WHEN vectors = relation THEN 'columns' ELSE 'companion' END FROM gte.embedding WHERE {}"
)

_IS_EMPTY = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})")


class Facts(TypedDict, total=False):
    """What an embedding is: see `Declaration`. `key` has the primary key's columns and their types,
    `generation` says which model exactly the vectors are of.
    """

    key: Required[Mapping[str, str]]
    model: Required[str]
    generation: Required[str]
    dimensions: Required[int]
    sparse_dimensions: int | None
    source: Sequence[str]
    template: str | None
    expression: str | None
    storage: Storage
    layout: Layout
    on_change: OnChange
    impact_step: float
    index_dimensions: int | None


@Operations.register_operation("add_embedding")
class AddEmbeddingOp(MigrateOperation):
    """Put an embedding on a table."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

    @classmethod
    def add_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Put an embedding on a table: its columns, triggers and work list.

        The table is not rewritten; every row with text is then pending, and `gte-pg sync` encodes it. An
        empty table gets its search indexes at once, others when sync has encoded them.
        """
        operations.invoke(cls(_declared(table_name, name, schema, facts)))

    def reverse(self) -> RemoveEmbeddingOp:
        return RemoveEmbeddingOp(self.declaration)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("add_embedding", self.declaration.written, self.declaration.name)


@Operations.register_operation("alter_embedding")
class AlterEmbeddingOp(MigrateOperation):
    """Change how the text of an embedding is made, or what becomes of a vector when it changes."""

    def __init__(
        self, wanted: Declaration, present: Declaration, *, suspended: bool = False
    ) -> None:
        self.wanted = wanted
        self.present = present
        self.suspended = suspended

    @classmethod
    def alter_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
        **facts: Unpack[Facts],
    ) -> None:
        """Make an embedding what is said here, where its vectors stay what they are for the same text.

        Rows whose text is another now become pending, in one UPDATE; the others keep their vectors. Also
        after a source column was renamed, or changed its type (see `suspend_embedding`).
        """
        wanted = _declared(table_name, name, schema, facts)
        operations.invoke(cls(wanted, wanted))

    def reverse(self) -> AlterEmbeddingOp | SuspendEmbeddingOp:
        if self.suspended:
            return SuspendEmbeddingOp(self.wanted, self.present)
        return AlterEmbeddingOp(self.present, self.wanted)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("alter_embedding", self.wanted.written, self.wanted.name)


@Operations.register_operation("suspend_embedding")
class SuspendEmbeddingOp(MigrateOperation):
    """Take the triggers of an embedding away, until it is altered to what is `wanted`."""

    def __init__(self, present: Declaration, wanted: Declaration) -> None:
        self.present = present
        self.wanted = wanted

    @classmethod
    def suspend_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        layout: Layout = "columns",
        schema: str | None = None,
    ) -> None:
        """Take the triggers away: Postgres changes no type of a column that a trigger names.

        `alter_embedding` in the same transaction puts them back.
        """
        named = _named(table_name, name, layout, schema)
        operations.invoke(cls(named, named))

    def reverse(self) -> AlterEmbeddingOp:
        return AlterEmbeddingOp(self.present, self.wanted)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("suspend_embedding", self.present.written, self.present.name)


@Operations.register_operation("remove_embedding")
class RemoveEmbeddingOp(MigrateOperation):
    """Take an embedding off a table; `replaced` where another of the same name takes its place."""

    def __init__(self, declaration: Declaration, *, replaced: bool = False) -> None:
        self.declaration = declaration
        self.replaced = replaced

    @classmethod
    def remove_embedding(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        layout: Layout = "columns",
        schema: str | None = None,
    ) -> None:
        """Take an embedding off a table: its vectors, indexes and triggers."""
        operations.invoke(cls(_named(table_name, name, layout, schema)))

    def reverse(self) -> AddEmbeddingOp:
        return AddEmbeddingOp(self.declaration)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        return ("remove_embedding", self.declaration.written, self.declaration.name)


@Operations.register_operation("create_search_indexes")
class CreateSearchIndexesOp(MigrateOperation):
    """Build the search indexes of an embedding."""

    def __init__(self, declaration: Declaration, *, concurrently: bool) -> None:
        self.declaration = declaration
        self.concurrently = concurrently

    @classmethod
    def create_search_indexes(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        concurrently: bool = False,
        schema: str | None = None,
    ) -> None:
        """Build the search indexes now, instead of leaving it to `gte-pg sync`.

        Blocks writes to the table for as long as it takes; with `concurrently` it commits what the
        migration has done so far and blocks nobody. Needs a connection.
        """
        declaration = _named(table_name, name, "columns", schema)
        operations.invoke(cls(declaration, concurrently=concurrently))


@Operations.register_operation("drop_search_indexes")
class DropSearchIndexesOp(MigrateOperation):
    """Drop the search indexes of an embedding."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration

    @classmethod
    def drop_search_indexes(
        cls,
        operations: Operations,
        table_name: str,
        name: str = "embedding",
        *,
        schema: str | None = None,
    ) -> None:
        """Drop the search indexes. Needs a connection."""
        operations.invoke(cls(_named(table_name, name, "columns", schema)))


@Operations.implementation_for(AddEmbeddingOp)
def add_embedding(operations: Operations, operation: AddEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        declaration = _in_public(operation.declaration)
        _print(operations, [_NEEDS_SCHEMA, *add_statements(declaration, postgres=_OLDEST_POSTGRES)])
        return
    connection = operations.get_bind()
    prepare_database(connection)
    declaration = in_current_schema(connection, operation.declaration)
    check_source_text(connection, declaration)
    for statement in add_statements(declaration, postgres=postgres_version(connection)):
        run(connection, statement)
    if ask(connection, _IS_EMPTY.format(declaration.relation)).scalar_one():
        for index in search_indexes(declaration):
            run(connection, index.create(declaration))


@Operations.implementation_for(AlterEmbeddingOp)
def alter_embedding(operations: Operations, operation: AlterEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        wanted = _in_public(operation.wanted)
        _print(operations, alter_statements(wanted, wanted, postgres=_OLDEST_POSTGRES))
        return
    connection = operations.get_bind()
    prepare_database(connection)
    wanted = in_current_schema(connection, operation.wanted)
    _check_columns(connection, wanted)
    check_source_text(connection, wanted)
    for statement in alter_statements(wanted, wanted, postgres=postgres_version(connection)):
        run(connection, statement)


@Operations.implementation_for(SuspendEmbeddingOp)
def suspend_embedding(operations: Operations, operation: SuspendEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        _print(operations, drop_capture(_in_public(operation.present)))
        return
    connection = operations.get_bind()
    for statement in drop_capture(in_current_schema(connection, operation.present)):
        run(connection, statement)


@Operations.implementation_for(RemoveEmbeddingOp)
def remove_embedding(operations: Operations, operation: RemoveEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        _print(operations, remove_statements(_in_public(operation.declaration)))
        return
    for statement in remove_statements(_registered(operations, operation.declaration)):
        run(operations.get_bind(), statement)


@Operations.implementation_for(CreateSearchIndexesOp)
def create_search_indexes(operations: Operations, operation: CreateSearchIndexesOp) -> None:
    declaration = _registered(operations, operation.declaration)
    if not operation.concurrently:
        for index in search_indexes(declaration):
            run(operations.get_bind(), index.create(declaration))
        return
    with operations.get_context().autocommit_block():
        for index in search_indexes(declaration):
            run(operations.get_bind(), index.create(declaration, concurrently=True))


@Operations.implementation_for(DropSearchIndexesOp)
def drop_search_indexes(operations: Operations, operation: DropSearchIndexesOp) -> None:
    declaration = _registered(operations, operation.declaration)
    _, *names = index_names(declaration)
    for name in names:
        index = sql.Identifier(*filter(None, (declaration.schema, name)))
        run(operations.get_bind(), sql.SQL("DROP INDEX IF EXISTS {}").format(index))


def _registered(operations: Operations, named: Declaration) -> Declaration:
    """Return what the database knows of an embedding."""
    connection = plain_connection(operations.get_bind())
    return load(connection, named.relation.as_string(), named.name, broken=True).declaration


def _check_columns(connection: sa.Connection, wanted: Declaration) -> None:
    """Raise DeclarationError unless the columns that are there can hold what is wanted."""
    facts = ("dimensions", "sparse_dimensions", "storage")
    there = ask(connection, _COLUMNS.format(registered_as(wanted))).one_or_none()
    asked = (*(getattr(wanted, fact) for fact in facts), wanted.layout)
    if there is None or tuple(there) != asked:
        raise DeclarationError(
            f"the embedding {wanted.name!r} of {wanted.written} cannot be altered to {asked}: "
            + ("there is none" if there is None else f"it is {tuple(there)}. Remove it and add it")
        )


def _declared(table: str, name: str, schema: str | None, facts: Facts) -> Declaration:
    given: dict[str, Any] = dict(facts)
    key, layout = given.pop("key"), given.pop("layout", "columns")
    named = named_columns(facts.get("template"), facts.get("expression"))
    return Declaration(
        schema=schema,
        table=table,
        name=name,
        key=tuple(KeyColumn(*column) for column in key.items()),
        source=tuple(given.pop("source", ())) or named,
        companion=companion_name(schema, table, name) if layout == "companion" else None,
        **{"sparse_dimensions": None, **given},
    )


def _named(table: str, name: str, layout: Layout, schema: str | None) -> Declaration:
    """Return a declaration that has the names of an embedding's objects right, and nothing else."""
    return Declaration(
        schema=schema,
        table=table,
        key=(KeyColumn("-", "text"),),
        source=("-",),
        name=name,
        model="-",
        generation="-@-/float32/1",
        dimensions=1,
        sparse_dimensions=1,
        companion=companion_name(schema, table, name) if layout == "companion" else None,
    )


def _in_public(declaration: Declaration) -> Declaration:
    """Return the declaration with a schema: without a connection, the default one is not known."""
    if declaration.schema is not None:
        return declaration
    companion = declaration.companion and ("public", *declaration.companion)
    return replace(declaration, schema="public", companion=companion)


def _print(operations: Operations, statements: Sequence[sql.Composable]) -> None:
    for statement in statements:
        operations.migration_context.impl.static_output(f"{statement.as_string()};")
