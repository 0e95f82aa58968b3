"""What the database tests do to tables again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import (
    Connection,
    Registered,
    engine,
    ensure_schema,
    find_table,
    load,
    postgres_version,
    run,
)
from gte_pg.declaration import Declaration, Storage, row_hash, row_is_empty
from gte_pg.encoder import Encoded, Encoder, load_encoder
from gte_pg.install import add_statements
from gte_pg.models import identify
from gte_pg.sync import Progress, sync_once

ARTICLES = (
    "CREATE TABLE articles (id bigint PRIMARY KEY, title text, body text, likes int DEFAULT 0)"
)


def add_embedding(
    dsn: str,
    connection: Connection,
    table: str,
    source: tuple[str, ...],
    model: str,
    *,
    name: str = "embedding",
    storage: Storage = "vector",
) -> Registered:
    found = find_table(connection, table)
    declaration = found.declare(identify(model), source, name=name, storage=storage)
    with engine(dsn).begin() as transaction:
        ensure_schema(transaction)
        for statement in add_statements(declaration, postgres=postgres_version(transaction)):
            run(transaction, statement)
    return load(connection, table, name)


def drain(connection: Connection, registered: Registered) -> Progress:
    """Encode all that is pending, and return the last progress."""
    *_, last = sync_once(connection, registered, load_encoder)
    return last


# Rows that break the invariant of the capture: see gte_pg/declaration/capture.py.
_BROKEN = sql.SQL("""
SELECT count(*) FROM {relation} AS d WHERE NOT CASE
    WHEN {empty} THEN {filled} = 0 AND {pending} IS NULL
    WHEN {filled} = 0 THEN {pending} IS NOT NULL
    ELSE {filled} = {all} AND {stored} = {hash}
END
""")


def broken_rows(connection: Connection, declaration: Declaration) -> int:
    """Count the rows that are neither right, nor pending, nor without text."""
    statement = _BROKEN.format(
        relation=declaration.relation,
        empty=row_is_empty(declaration, "d"),
        filled=sql.SQL("num_nonnulls({})").format(
            sql.SQL(", ").join(sql.Identifier("d", name) for name in declaration.vector_columns)
        ),
        all=sql.Literal(len(declaration.vector_columns)),
        pending=sql.Identifier("d", declaration.pending_column),
        stored=sql.Identifier("d", declaration.hash_column),
        hash=row_hash(declaration, "d"),
    )
    row = connection.execute(statement).fetchone()
    assert row is not None
    return int(row[0])


@dataclass
class Interrupted(Encoder):
    """A real encoder that does something each time before it encodes."""

    inner: Encoder
    before: Callable[[list[str]], None]

    def __post_init__(self) -> None:
        self.identity = self.inner.identity

    def encode(self, texts: list[str], **options: object) -> Encoded:  # type: ignore[override]
        self.before(list(texts))
        return self.inner.encode(texts, **options)  # type: ignore[arg-type]


def rows(connection: Connection, statement: str) -> Iterator[tuple[object, ...]]:
    yield from connection.execute(statement.encode()).fetchall()
