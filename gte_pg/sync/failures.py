"""Rows that cannot be encoded: recorded with their error, retried with back-off, parked in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered
from gte_pg.declaration import key_join, key_values
from gte_pg.errors import DatabaseError
from gte_pg.sync.refusals import Refusal
from gte_pg.sync.settings import lock_in_order, looking_up
from gte_pg.sync.versions import mark

_ERROR_CHARACTERS = 1_000

# 10 s, 20 s, 40 s, and from then on 80 s. A failure counts only for the text that failed: other text
# starts afresh.
_RECORD = """
INSERT INTO gte.failure AS f (embedding, key, hash, attempts, error, retry_at)
VALUES (
    %(embedding)s, %(key)s, %(hash)s, 1, %(error)s,
    CASE WHEN 1 < %(most)s THEN now() + interval '10 s' END
)
ON CONFLICT (embedding, key) DO UPDATE SET
    hash = excluded.hash,
    error = excluded.error,
    failed_at = now(),
    attempts = CASE WHEN f.hash = excluded.hash THEN f.attempts ELSE 0 END + 1,
    retry_at = CASE
        WHEN f.hash <> excluded.hash THEN excluded.retry_at
        WHEN f.attempts + 1 < %(most)s THEN now() + interval '10 s' * 2 ^ least(f.attempts, 3)
    END
"""

_FORGET = "DELETE FROM gte.failure WHERE embedding = %s AND key = ANY (%s)"

# A failure counts while the row still has the text that failed.
_STANDS = sql.SQL(
    "f.embedding = {embedding} AND {join} AND {pending} IS NOT NULL AND f.hash = {mark}"
)

_COUNT = sql.SQL("SELECT count(*) FROM gte.failure AS f, {vectors} AS d WHERE {stands}")

_LIST = sql.SQL("""
SELECT f.key, f.attempts, f.error, f.retry_at IS NULL FROM gte.failure AS f, {vectors} AS d
WHERE {stands} ORDER BY f.failed_at DESC LIMIT {most}
""")

_HAS_FAILURES = "SELECT FROM gte.failure WHERE embedding = %s LIMIT 1"

_FORGET_ALL = "DELETE FROM gte.failure WHERE embedding = %s"

_FORGET_STALE = sql.SQL("""
DELETE FROM gte.failure AS f
WHERE f.embedding = {embedding} AND NOT EXISTS (SELECT FROM {vectors} AS d WHERE {stands})
""")

_RETRY = sql.SQL("""\
UPDATE gte.failure AS f SET retry_at = now(), attempts = 0 FROM {vectors} AS d
WHERE {stands}{asked}""")

# Compared as keys, not as texts: whoever asks may write a composite key with or without spaces.
_ASKED = sql.SQL(" AND EXISTS (SELECT FROM unnest({keys}::text[]) AS asked (key) WHERE {join})")


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that could not be encoded; `parked` for good, until it gets new text or is retried."""

    key: str
    attempts: int
    error: str
    parked: bool


def list_failures(connection: Connection, registered: Registered, *, most: int) -> list[Failure]:
    """Return up to `most` failures of rows that still have the text that failed, the latest first.

    Raises DatabaseError after a change of the primary key, until a sync has forgotten those of before, and
    psycopg.Error where a row-level policy hides rows from this role.
    """
    listing = _about(registered, _LIST, most=sql.Literal(most))
    with reading_keys(connection, registered):
        rows = connection.execute(listing).fetchall()
    return [Failure(*row) for row in rows]


def count_failures(connection: Connection, registered: Registered) -> int:
    """Count the rows whose present text has failed, parked or not; raises as `list_failures` does."""
    with reading_keys(connection, registered):
        (count,) = connection.execute(_about(registered, _COUNT)).fetchone() or (0,)
    return int(count)


@contextmanager
def reading_keys(connection: Connection, registered: Registered) -> Iterator[None]:
    """Open a transaction that finds the rows of failures, past row-level policies.

    Raises DatabaseError where the text of a key cannot be read as one: it is of another primary key.
    """
    try:
        with connection.transaction():
            # Rows that a policy hides are an error: they are not gone.
            connection.execute("SET LOCAL row_security = off")
            lock_in_order(connection, registered.declaration)
            yield
    except psycopg.DataError as error:
        raise DatabaseError(
            f"a key of {registered.declaration.written} cannot be read ({error.diag.message_primary}). If "
            "the table had another primary key before: run gte-pg sync, which forgets what failed then"
        ) from error


def stands(registered: Registered) -> sql.Composed:
    """Return the condition that the failure `f` is one of the present text of the row `d`."""
    declaration = registered.declaration
    return _STANDS.format(
        embedding=sql.Literal(registered.id),
        join=key_join(declaration, "d", sql.Identifier("f", "key")),
        pending=sql.Identifier("d", declaration.pending_column),
        mark=mark(declaration),
    )


def record_failure(connection: Connection, registered: Registered, refusal: Refusal) -> None:
    """Record that the present text of a row failed; after so many attempts it is parked."""
    values = {
        "embedding": registered.id,
        "key": refusal.key,
        "hash": refusal.mark,
        "error": _storable(connection, refusal.error)[:_ERROR_CHARACTERS],
        "most": refusal.most_attempts,
    }
    connection.execute(_RECORD, values)


def _storable(connection: Connection, error: str) -> str:
    """What is written must not fail for what it says, in whatever encoding the database is."""
    known = "utf-8" if connection.info.parameter_status("server_encoding") == "UTF8" else "ascii"
    return error.replace("\0", "\\0").encode(known, "backslashreplace").decode(known)


def forget_failures(connection: Connection, registered: Registered, keys: list[str]) -> None:
    """Forget the failures of rows that are done."""
    connection.execute(_FORGET, (registered.id, keys))


def forget_stale_failures(connection: Connection, registered: Registered) -> None:
    """Forget the failures of rows that are gone, done, or of another text by now; reads all failures.

    Raises psycopg.Error where this role may not see all rows: one that is hidden is not gone.
    """
    if connection.execute(_HAS_FAILURES, (registered.id,)).fetchone() is None:
        return
    embedding = sql.Literal(registered.id)
    try:
        # There may be many.
        with looking_up(connection, registered.declaration):
            connection.execute(_about(registered, _FORGET_STALE, embedding=embedding))
    except psycopg.DataError:
        # A key that cannot be read is of a primary key that the table had before.
        connection.execute(_FORGET_ALL, (registered.id,))


def retry_failures(
    connection: Connection, registered: Registered, keys: list[str] | None = None
) -> int:
    """Let failed and parked rows, or those with these keys, be tried again; return how many.

    Raises psycopg.Error where a row-level policy hides rows from this role, and DatabaseError where one of
    the keys is not of the table's type.
    """
    if keys is not None:
        _check_keys(connection, registered, keys)
    with reading_keys(connection, registered):
        return connection.execute(retry_statement(registered, keys)).rowcount


def _check_keys(connection: Connection, registered: Registered, keys: list[str]) -> None:
    """Raise DatabaseError for the first of them that is none, whatever the keys are that failed."""
    declaration = registered.declaration
    for key in keys:
        values = sql.SQL(", ").join(key_values(declaration, sql.Literal(key)))
        try:
            connection.execute(sql.SQL("SELECT {}").format(values))
        except psycopg.DataError as error:
            columns = ", ".join(f"{column.name} {column.type}" for column in declaration.key)
            raise DatabaseError(
                f"{key} is no key of {declaration.written}, which is {columns}: "
                f"{error.diag.message_primary}"
            ) from error


def retry_statement(registered: Registered, keys: list[str] | None = None) -> sql.Composed:
    """Return the statement that does so."""
    asked: sql.Composable = sql.SQL("")
    if keys is not None:
        join = key_join(registered.declaration, "d", sql.Identifier("asked", "key"))
        asked = _ASKED.format(keys=sql.Literal(keys), join=join)
    return _about(registered, _RETRY, asked=asked)


def _about(registered: Registered, statement: sql.SQL, **terms: sql.Composable) -> sql.Composed:
    vectors = registered.declaration.vectors
    return statement.format(vectors=vectors, stands=stands(registered), **terms)
