"""What the operations do to a database, or print where there is no connection (`--sql`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from alembic.operations import Operations
from psycopg import sql

from gte_pg.alembic.operations import (
    AddEmbeddingOp,
    AlterEmbeddingOp,
    CreateSearchIndexesOp,
    DropSearchIndexesOp,
    RemoveEmbeddingOp,
    SuspendEmbeddingOp,
)
from gte_pg.database import (
    Registered,
    ask,
    check_source_text,
    in_current_schema,
    load,
    plain_connection,
    postgres_version,
    registered_as,
    run,
)
from gte_pg.database.connect import find_vector_types
from gte_pg.declaration import Declaration, drop_capture, index_names
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.install import (
    add_statements,
    alter_statements,
    create_indexes,
    prepare_database,
    remove_statements,
)
from gte_pg.sync.indexes import build_index, missing_search_indexes

# Offline, the statements must suit any server that gte-pg supports.
_OLDEST_POSTGRES = 13

_NEEDS_SCHEMA = sql.SQL("""\
DO $gte$ BEGIN
    IF to_regclass('gte.embedding') IS NULL THEN
        RAISE EXCEPTION 'this database has no schema gte: run what gte-pg init --print-sql prints first';
    END IF;
END $gte$""")

_PRESENT = sql.SQL(
    "SELECT generation, sparse_dimensions, storage, "
    "CASE WHEN vectors = relation THEN 'columns' ELSE 'companion' END FROM gte.embedding WHERE {}"
)

_IS_EMPTY = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})")


@Operations.implementation_for(AddEmbeddingOp)
def add_embedding(operations: Operations, operation: AddEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        declaration = _in_public(operation.declaration)
        _print(operations, [_NEEDS_SCHEMA, *add_statements(declaration, postgres=_OLDEST_POSTGRES)])
        return
    connection = operations.get_bind()
    prepare_database(connection)
    declaration = in_current_schema(connection, operation.declaration)
    if _present(connection, declaration) is not None:
        raise DeclarationError(
            f"the table {declaration.written} already has an embedding called {declaration.name!r}. If "
            "it is the one of this migration, tell Alembic that it is there: alembic stamp; if not, "
            f"remove it first: gte-pg remove {declaration.written} --name {declaration.name}"
        )
    check_source_text(connection, declaration)
    for statement in add_statements(declaration, postgres=postgres_version(connection)):
        run(connection, statement)
    if ask(connection, _IS_EMPTY.format(declaration.relation)).scalar_one():
        for statement in create_indexes(declaration):
            run(connection, statement)


@Operations.implementation_for(AlterEmbeddingOp)
def alter_embedding(operations: Operations, operation: AlterEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        wanted = _in_public(operation.wanted)
        _print(operations, alter_statements(wanted, wanted, postgres=_OLDEST_POSTGRES))
        return
    connection = operations.get_bind()
    prepare_database(connection)
    wanted = in_current_schema(connection, operation.wanted)
    _check_vectors(connection, wanted)
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
    for statement in remove_statements(_registered(operations, operation.declaration).declaration):
        run(operations.get_bind(), statement)


@Operations.implementation_for(CreateSearchIndexesOp)
def create_search_indexes(operations: Operations, operation: CreateSearchIndexesOp) -> None:
    if operations.migration_context.as_sql:
        raise DatabaseError(
            "create_search_indexes asks the database what the embedding is, and cannot be printed by "
            "--sql: leave it out, and gte-pg sync builds the indexes"
        )
    if not operation.concurrently:
        declaration = _registered(operations, operation.declaration).declaration
        for index in missing_search_indexes(plain_connection(operations.get_bind()), declaration):
            run(operations.get_bind(), _drop_index(declaration, index.name))
            run(operations.get_bind(), index.create(declaration))
        return
    with operations.get_context().autocommit_block():
        connection = plain_connection(operations.get_bind())
        registered = _registered(operations, operation.declaration)
        for index in missing_search_indexes(connection, registered.declaration):
            if not build_index(connection, registered, index):
                raise DatabaseError(
                    f"somebody else, gte-pg sync perhaps, is building the index {index.name}: run the "
                    "migration again when it is there"
                )


@Operations.implementation_for(DropSearchIndexesOp)
def drop_search_indexes(operations: Operations, operation: DropSearchIndexesOp) -> None:
    is_printed = operations.migration_context.as_sql
    declaration = (
        _in_public(operation.declaration)
        if is_printed
        else _registered(operations, operation.declaration).declaration
    )
    _, *names = index_names(declaration)
    statements = [_drop_index(declaration, name) for name in names]
    if is_printed:
        _print(operations, statements)
        return
    for statement in statements:
        run(operations.get_bind(), statement)


def _drop_index(declaration: Declaration, name: str) -> sql.Composed:
    index = sql.Identifier(*filter(None, (declaration.schema, name)))
    return sql.SQL("DROP INDEX IF EXISTS {}").format(index)


def _registered(operations: Operations, embedding: Declaration) -> Registered:
    """Return what the database knows of an embedding."""
    connection = plain_connection(operations.get_bind())
    find_vector_types(connection)
    return load(connection, embedding.relation.as_string(), embedding.name, broken=True)


def _present(connection: sa.Connection, declaration: Declaration) -> tuple[object, ...] | None:
    """Return what the vectors of this name are that the database has, or None."""
    found = ask(connection, _PRESENT.format(registered_as(declaration))).one_or_none()
    return None if found is None else tuple(found)


def _check_vectors(connection: sa.Connection, wanted: Declaration) -> None:
    """Raise DeclarationError unless the vectors that are there are of the kind that is wanted."""
    present = _present(connection, wanted)
    asked = (wanted.generation, wanted.sparse_dimensions, wanted.storage, wanted.layout)
    if present != asked:
        raise DeclarationError(
            f"the embedding {wanted.name!r} of {wanted.written} cannot be altered to {asked}: "
            + ("there is none" if present is None else f"it is {present}. Remove it and add it")
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
