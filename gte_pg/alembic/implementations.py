"""What the operations do to a database, or print where there is no connection (`--sql`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from alembic.operations import Operations
from psycopg import sql

from gte_pg.alembic.facts import named
from gte_pg.alembic.operations import (
    AddEmbeddingOp,
    AlterEmbeddingOp,
    CreateSearchIndexesOp,
    DropSearchIndexesOp,
    RemoveEmbeddingOp,
    SuspendEmbeddingOp,
    SwitchEmbeddingOp,
)
from gte_pg.database import (
    Registered,
    ask,
    check_names_are_free,
    check_source_text,
    in_current_schema,
    load,
    load_all,
    lock_unchanged,
    plain_connection,
    postgres_version,
    registered_as,
    run,
)
from gte_pg.database.connect import find_vector_types
from gte_pg.declaration import Declaration, drop_capture, index_names
from gte_pg.declaration.trigger import function_body
from gte_pg.errors import DatabaseError, DeclarationError
from gte_pg.install import (
    add_statements,
    alter_statements,
    altered_along,
    create_indexes,
    index_statements,
    is_other_index,
    next_name,
    prepare_database,
    previous_name,
    remove_statements,
    standbys_of,
)
from gte_pg.sync import missing_triggers
from gte_pg.sync.indexes import build_index, missing_search_indexes

# Offline, the statements must suit any server that gte-pg supports.
_OLDEST_POSTGRES = 13

_NEEDS_SCHEMA = sql.SQL("""\
DO $gte$ BEGIN
    IF to_regclass('gte.embedding') IS NULL THEN
        RAISE EXCEPTION 'this database has no schema gte: run what gte-pg init --print-sql prints first';
    END IF;
END $gte$""")

_STANDS_ALONE = sql.SQL("""\
DO $gte$ BEGIN
    IF EXISTS (
        SELECT FROM gte.embedding WHERE relation = to_regclass({relation}) AND standby AND name IN ({names})
    ) THEN
        RAISE EXCEPTION {problem};
    END IF;
END $gte$""")

_SWITCH_UNFILLED = sql.SQL("""\
BEGIN
    IF EXISTS (SELECT FROM gte.embedding WHERE {registered} AND generation = {generation}) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM {vectors} WHERE {dense} IS NOT NULL) THEN
        RAISE EXCEPTION {not_switched};
    END IF;
    {anew};
END""")

_IS_EMPTY = sql.SQL("SELECT NOT EXISTS (SELECT FROM {})")

_HAS_VECTORS = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)")


@Operations.implementation_for(AddEmbeddingOp)
def add_embedding(operations: Operations, operation: AddEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        declaration = _in_public(operation.declaration)
        _print(operations, [_NEEDS_SCHEMA, *add_statements(declaration, postgres=_OLDEST_POSTGRES)])
        return
    connection = operations.get_bind()
    prepare_database(connection)
    declaration = in_current_schema(connection, operation.declaration)
    present = load_all(plain_connection(connection), declaration.relation.as_string(), broken=True)
    if declaration.name in [one.declaration.name for one in present]:
        raise DeclarationError(
            f"the table {declaration.written} already has an embedding called {declaration.name!r}. If "
            "it is the one of this migration, tell Alembic that it is there: alembic stamp; if not, "
            f"remove it first: gte-pg remove {declaration.written} --name {declaration.name}"
        )
    check_names_are_free(plain_connection(connection), declaration)
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
        altered = alter_statements(wanted, postgres=_OLDEST_POSTGRES)
        _print(operations, [_stands_alone(wanted), *altered])
        return
    connection = operations.get_bind()
    prepare_database(connection)
    wanted = in_current_schema(connection, operation.wanted)
    registered, *standing_by = _locked(operations, wanted)
    present = registered.declaration
    if _vectors(present) != _vectors(wanted):
        raise DeclarationError(_not_its_vectors(present, wanted))
    check_source_text(connection, wanted)
    statements = _alteration(connection, registered, wanted)
    for one in standing_by:
        along = altered_along(present, wanted, one.declaration)
        statements += _alteration(connection, one, along)
    for statement in statements:
        run(connection, statement)


def _alteration(
    connection: sa.Connection, present: Registered, wanted: Declaration
) -> list[sql.Composed]:
    # Suspended, it needs its triggers again, whatever else is another.
    suspended = missing_triggers(plain_connection(connection), present)
    as_stored = replace(wanted, key=present.declaration.key)
    if is_other_index(present.declaration, as_stored) and not suspended:
        return index_statements(wanted)
    return alter_statements(wanted, postgres=postgres_version(connection))


def _not_its_vectors(present: Declaration, wanted: Declaration) -> str:
    embedding = f"the embedding {wanted.name!r} of {wanted.written}"
    if (present.storage, present.layout) != (wanted.storage, wanted.layout):
        return (
            f"{embedding} cannot be altered to another storage or layout ({wanted.storage}, "
            f"{wanted.layout}): remove it and add it"
        )
    return (
        f"{embedding} is {present.generation}, and this migration is of a time when it was "
        f"{wanted.generation}. Put that back (gte-pg switch {wanted.written} --name {wanted.name} --back), "
        "upgrade to this revision, and switch again"
    )


@Operations.implementation_for(SwitchEmbeddingOp)
def switch_embedding(operations: Operations, operation: SwitchEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        _print(operations, [_switch_unfilled(_in_public(operation.wanted))])
        return
    connection = operations.get_bind()
    prepare_database(connection)
    wanted = in_current_schema(connection, operation.wanted)
    present = _locked(operations, wanted)[0].declaration
    if _vectors(present) == _vectors(wanted):
        # The command leaves all else as it is, which this revision may change too.
        same = replace(present, key=wanted.key, companion=wanted.companion, model=wanted.model)
        if same != wanted:
            alter_embedding(operations, AlterEmbeddingOp(wanted, wanted))
        return
    dense = sql.Identifier(present.dense_column)
    if ask(connection, _HAS_VECTORS.format(present.vectors, dense)).scalar_one():
        raise DeclarationError(_not_switched(wanted))
    remove_embedding(operations, RemoveEmbeddingOp(wanted))
    add_embedding(operations, AddEmbeddingOp(wanted))


def _switch_unfilled(wanted: Declaration) -> sql.Composed:
    # The former model may give token weights where this one does not.
    former = named(wanted.table, wanted.name, wanted.schema, wanted.layout)
    anew = [*remove_statements(former), *add_statements(wanted, postgres=_OLDEST_POSTGRES)]
    body = _SWITCH_UNFILLED.format(
        registered=registered_as(wanted),
        generation=sql.Literal(wanted.generation),
        vectors=wanted.vectors,
        dense=sql.Identifier(wanted.dense_column),
        not_switched=sql.Literal(_not_switched(wanted).replace("%", "%%")),
        anew=sql.SQL(";\n    ").join(anew),
    )
    return sql.SQL("DO {}").format(function_body(body))


def _not_switched(wanted: Declaration) -> str:
    command = (
        f"gte-pg switch {wanted.written} --name {wanted.name} --model {wanted.model} "
        f"--dimensions {wanted.dimensions} --precision {wanted.precision}"
    )
    return (
        f"the embedding {wanted.name!r} of {wanted.written} has vectors that are not those of "
        f"{wanted.generation}. Switch it first, while it is searched: {command} (or --back, if that "
        "is the former model). Or write op.remove_embedding and op.add_embedding into the migration: no "
        "row is found then until it is encoded anew"
    )


@Operations.implementation_for(SuspendEmbeddingOp)
def suspend_embedding(operations: Operations, operation: SuspendEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        present = _in_public(operation.present)
        _print(operations, [_stands_alone(present), *drop_capture(present)])
        return
    for one in _locked(operations, operation.present):
        for statement in drop_capture(one.declaration):
            run(operations.get_bind(), statement)


@Operations.implementation_for(RemoveEmbeddingOp)
def remove_embedding(operations: Operations, operation: RemoveEmbeddingOp) -> None:
    if operations.migration_context.as_sql:
        leaving = _in_public(operation.declaration)
        _print(operations, [_stands_alone(leaving), *remove_statements(leaving)])
        return
    for one in _locked(operations, operation.declaration):
        for statement in remove_statements(one.declaration):
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
    return sql.SQL("DROP INDEX IF EXISTS {}").format(declaration.index_path(name))


def _registered(operations: Operations, embedding: Declaration) -> Registered:
    """Return what the database knows of an embedding."""
    connection = plain_connection(operations.get_bind())
    find_vector_types(connection)
    return load(connection, embedding.relation.as_string(), embedding.name, broken=True)


def _locked(operations: Operations, embedding: Declaration) -> list[Registered]:
    """Return an embedding as the database has it, and what stands by it; none is changed meanwhile."""
    registered = _registered(operations, embedding)
    connection = plain_connection(operations.get_bind())
    found = [registered, *standbys_of(connection, registered.declaration)]
    lock_unchanged(connection, found)
    return found


def _vectors(declaration: Declaration) -> tuple[object, ...]:
    """Return what the vectors of an embedding are."""
    return (
        declaration.generation,
        declaration.sparse_dimensions,
        declaration.storage,
        declaration.layout,
    )


def _stands_alone(declaration: Declaration) -> sql.Composed:
    """Return the statement that fails where something stands by an embedding: it was to go along."""
    names = [name(declaration.name) for name in (next_name, previous_name)]
    return _STANDS_ALONE.format(
        relation=sql.Literal(declaration.relation.as_string()),
        names=sql.SQL(", ").join(map(sql.Literal, names)),
        problem=sql.Literal(
            f"a switch has left {' or '.join(names)} beside the embedding {declaration.name} of "
            f"{declaration.written}, which printed statements leave behind: gte-pg remove "
            f"{declaration.written} --name NAME first, or run the migration on a connection".replace(
                "%", "%%"
            )
        ),
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
