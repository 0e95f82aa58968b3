"""The documents of a collection in a table of their own, for as long as they are searched."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import sql

from gte_pg.database import (
    Connection,
    Registered,
    engine,
    find_table,
    load,
    postgres_version,
    run,
)
from gte_pg.evaluation.collection import Collection
from gte_pg.install import add_statements, prepare_database, remove_statements
from gte_pg.models import ModelIdentity


@contextmanager
def corpus_table(
    dsn: str, connection: Connection, collection: Collection, model: ModelIdentity
) -> Iterator[Registered]:
    """Put the documents, title and text, into a new schema and declare an embedding on them.

    They are not encoded yet. In the end the schema is gone, whatever happened.
    """
    schema = f"gte_pg_eval_{secrets.token_hex(6)}"
    table = f"{schema}.documents"
    connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
    try:
        connection.execute(
            f"CREATE TABLE {table} (id text PRIMARY KEY, title text, text text)".encode()
        )
        _fill(connection, table, collection)
        declaration = find_table(connection, table).declare(model, ("title", "text"))
        with engine(dsn).begin() as transaction:
            prepare_database(transaction)
            for statement in add_statements(declaration, postgres=postgres_version(transaction)):
                run(transaction, statement)
        try:
            yield load(connection, table)
        finally:
            with engine(dsn).begin() as transaction:
                for statement in remove_statements(declaration):
                    run(transaction, statement)
    finally:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


def _fill(connection: Connection, table: str, collection: Collection) -> None:
    with (
        connection.transaction(),
        connection.cursor().copy(f"COPY {table} (id, title, text) FROM STDIN".encode()) as copy,
    ):
        for document in collection.documents:
            # Postgres has no NUL in a text.
            values = (document.id, document.title, document.text)
            copy.write_row([value.replace("\0", " ") for value in values])
