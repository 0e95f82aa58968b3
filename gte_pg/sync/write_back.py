"""Write vectors back to the rows whose texts were read and encoded.

A row's text may change at any moment. On the row itself the vector is compared with the text as it
stands, under the row's lock. A companion row is written by every change of the text; its version tells
under its lock what the text, being another row's, cannot: a re-check after a wait sees the new companion
row beside the old text. Of what text vectors are, and by what model, the registry is asked: whether that is
still what the worker was told. All that is asked after the table was locked, which whoever changes the one
or the other has had for itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from gte_pg.database import Connection, Registered, fill, is_still_declared
from gte_pg.database.binary import sparse_array, vector_array, vector_type
from gte_pg.declaration import (
    WRITE_BACK_SETTING,
    Declaration,
    join_source,
    key_join,
    row_hash,
    row_is_empty,
    same_key,
    text_row,
)
from gte_pg.encoder import Encoded
from gte_pg.sync.read import Text, Textless
from gte_pg.sync.refusals import Row, Written, suppressed, write_apart
from gte_pg.sync.settings import looking_up
from gte_pg.sync.versions import row_version

# An application's statement that meets a row lock of the write-back waits for one such transaction: it
# is kept to so many seconds by the number of its rows.
_SECONDS_PER_TRANSACTION = 0.05
_MOST_ROWS_PER_TRANSACTION = 1_024
_FEWEST_ROWS_PER_TRANSACTION = 8

# Locked for no longer than the statement takes.
_NOT_HELD = sql.SQL("""
SELECT tried.key FROM unnest(%(keys)s::text[]) AS tried (key) JOIN {vectors} AS d ON {join}
FOR NO KEY UPDATE OF d SKIP LOCKED
""")

# How many rows were written, and which were free to be and are pending as before: not those of which the
# capture has found that the vector is not their text's.
_OUTCOME = sql.SQL("""\
SELECT (SELECT count(*) FROM updated WHERE pending IS NULL),
       CASE WHEN (SELECT count(*) FROM updated WHERE pending IS NULL) < (SELECT count(*) FROM free)
            THEN ARRAY(
                SELECT key FROM free
                EXCEPT SELECT key FROM updated WHERE pending IS DISTINCT FROM pending_before
            ) END""")

# Rows that had no text when the embedding was declared are pending like all others then.
_CLEAR = sql.SQL("""
WITH textless AS MATERIALIZED (
    SELECT * FROM unnest(%(keys)s::text[], %(versions)s::text[]) AS array_row (key, version)
), free AS MATERIALIZED (
    SELECT textless.key, {pending} AS pending_before
    FROM textless JOIN {vectors} AS d ON {join_textless} {source}
    WHERE {pending} IS NOT NULL AND {is_empty} AND {version} = textless.version AND {declared}
    FOR NO KEY UPDATE OF d SKIP LOCKED
), updated AS (
    UPDATE {vectors} AS d SET {pending_name} = NULL FROM free WHERE {join_free}
    RETURNING free.key, {pending} AS pending, free.pending_before
)
{outcome}
""")

# Only what goes past triggers leaves a companion row behind: TRUNCATE of a partition, somebody who
# disables them.
_DELETE_GONE = sql.SQL("""
WITH gone AS MATERIALIZED (
    SELECT * FROM unnest(%(keys)s::text[], %(versions)s::text[]) AS array_row (key, version)
), free AS MATERIALIZED (
    SELECT gone.key, gone.version FROM gone JOIN {vectors} AS d ON {join_gone}
    FOR UPDATE OF d SKIP LOCKED
)
DELETE FROM {vectors} AS d USING free
WHERE {join_free} AND {version} = free.version AND NOT EXISTS (SELECT FROM {relation} AS s WHERE {same_key})
""")

# Rows are locked in the order of their key and only where nobody else holds them; a row whose text
# is no longer the one that was encoded is left pending. Once locked, it cannot change.
_WRITE = sql.SQL("""
WITH written AS MATERIALIZED (
    SELECT * FROM unnest(
        %(keys)s::text[], %(hashes)s::bytea[], %(versions)s::text[],
        %(dense)b::{dense_type}[], %(sparse)b::{sparse_type}[]
    ) AS array_row (key, hash, version, dense, sparse)
), free AS MATERIALIZED (
    SELECT written.*, {pending} AS pending_before
    FROM written JOIN {vectors} AS d ON {join_written} {source}
    WHERE {pending} IS NOT NULL AND {hash} = written.hash AND {version} = written.version AND {declared}
    ORDER BY {order}
    FOR NO KEY UPDATE OF d SKIP LOCKED
), updated AS (
    UPDATE {vectors} AS d SET {assignments} FROM free WHERE {join_free}
    RETURNING free.key, {pending} AS pending, free.pending_before
)
{outcome}
""")


class Writer:
    """Writes to the rows of one embedding, in short transactions."""

    def __init__(self, connection: Connection, registered: Registered) -> None:
        self._connection = connection
        self._declaration = declaration = registered.declaration
        self._dense_type = vector_type(connection, declaration.storage)
        self._sparse_type = vector_type(connection, "sparsevec")
        self._not_held = _not_held(declaration)
        self._clear = _clear(registered)
        self._delete_gone = _delete_gone(declaration)
        self._write = _write(registered, self._dense_type.name, self._sparse_type.name)
        self._rows_per_transaction = 256

    def statements(self) -> dict[str, sql.Composable]:
        """Return what is run for a batch, by what it is for."""
        return {
            "see which of them others hold, if any were held before": self._not_held,
            "write their vectors back": self._write,
            "take rows without text off the list": self._clear,
        }

    def not_held(self, texts: list[Text]) -> list[Text]:
        """Return the texts of the rows that nobody holds now: those of others could not be written."""
        values = {"keys": [text.key for text in texts]}
        try:
            with looking_up(self._connection, self._declaration):
                free = {key for (key,) in self._connection.execute(self._not_held, values)}
        except psycopg.errors.SerializationFailure:  # one was just moved to another partition
            return texts
        return [text for text in texts if text.key in free]

    def clear(self, textless: list[Textless]) -> Written:
        """Take rows without text off the work list, and delete companion rows whose row is gone."""
        if not textless:
            return Written(0, [])
        return write_apart(textless, 0, len(textless), partial(self._clear_rows, textless))

    def write(self, texts: list[Text], encoded: Encoded) -> Written:
        """Store the vectors of `texts` in short transactions."""
        written = Written(0, [])
        start = 0
        while start < len(texts):
            stop = min(start + self._rows_per_transaction, len(texts))
            begun = time.monotonic()
            written += write_apart(texts, start, stop, partial(self._write_rows, texts, encoded))
            self._pace(stop - start, time.monotonic() - begun)
            start = stop
        return written

    def _pace(self, rows: int, seconds: float) -> None:
        fitting = int(rows * _SECONDS_PER_TRANSACTION / max(seconds, 1e-6))
        # One slow transaction, or a fast one of a few rows, says little: half way is enough.
        paced = (self._rows_per_transaction + fitting) // 2
        self._rows_per_transaction = max(
            _FEWEST_ROWS_PER_TRANSACTION, min(paced, _MOST_ROWS_PER_TRANSACTION)
        )

    def _clear_rows(self, textless: list[Textless], start: int, stop: int) -> Written:
        values = {
            "keys": [row.key for row in textless[start:stop]],
            "versions": [row.version for row in textless[start:stop]],
        }
        with looking_up(self._connection, self._declaration, **self._writing_back()):
            cleared = self._update(self._clear, values, textless[start:stop])
            if self._declaration.companion is not None:
                gone = self._connection.execute(self._delete_gone, values).rowcount
                cleared += Written(gone, [])
        return cleared

    def _write_rows(self, texts: list[Text], encoded: Encoded, start: int, stop: int) -> Written:
        declaration = self._declaration
        half = declaration.storage == "halfvec"
        values = {
            "keys": [text.key for text in texts[start:stop]],
            "hashes": [text.hash for text in texts[start:stop]],
            "versions": [text.version for text in texts[start:stop]],
            "dense": vector_array(encoded.dense[start:stop], self._dense_type.oid, half=half),
            # A model without token weights sends an empty array, which unnest pads with NULL.
            "sparse": sparse_array(encoded.sparse, start, stop, self._sparse_type.oid),
        }
        with looking_up(self._connection, self._declaration, **self._writing_back()):
            return self._update(self._write, values, texts[start:stop])

    def _update(
        self, statement: sql.Composed, values: dict[str, Any], rows: Sequence[Row]
    ) -> Written:
        count, keys = self._connection.execute(statement, values).fetchone() or (0, None)
        return Written(count, [suppressed(row) for row in rows if row.key in (keys or ())])

    def _writing_back(self) -> dict[str, str]:
        """The triggers then keep every other column as it was, whatever the application's did."""
        return {WRITE_BACK_SETTING: self._declaration.name}


def _common(declaration: Declaration) -> dict[str, sql.Composable]:
    return {
        "vectors": declaration.vectors,
        "relation": declaration.relation,
        "source": join_source(declaration),
        "pending": sql.Identifier("d", declaration.pending_column),
        "outcome": _OUTCOME,
        "version": row_version(declaration),
        "hash": row_hash(declaration, text_row(declaration)),
    }


def _not_held(declaration: Declaration) -> sql.Composed:
    return fill(
        _NOT_HELD,
        vectors=declaration.vectors,
        join=key_join(declaration, "d", sql.Identifier("tried", "key")),
    )


def _clear(registered: Registered) -> sql.Composed:
    declaration = registered.declaration
    is_empty = row_is_empty(declaration, text_row(declaration))
    if declaration.companion is not None:
        # The row must be there: one that is gone looks as if it had no text.
        exists = sql.SQL("{} IS NOT NULL").format(sql.Identifier("s", declaration.key[0].name))
        is_empty = sql.SQL("{} AND {}").format(is_empty, exists)
    return fill(
        _CLEAR,
        **_common(declaration),
        join_textless=key_join(declaration, "d", sql.Identifier("textless", "key")),
        join_free=key_join(declaration, "d", sql.Identifier("free", "key")),
        pending_name=sql.Identifier(declaration.pending_column),
        is_empty=is_empty,
        declared=is_still_declared(registered),
    )


def _delete_gone(declaration: Declaration) -> sql.Composed:
    return fill(
        _DELETE_GONE,
        **_common(declaration),
        join_gone=key_join(declaration, "d", sql.Identifier("gone", "key")),
        join_free=key_join(declaration, "d", sql.Identifier("free", "key")),
        same_key=same_key(declaration),
    )


def _write(
    registered: Registered, dense_type: sql.Identifier, sparse_type: sql.Identifier
) -> sql.Composed:
    declaration = registered.declaration
    assignments = {
        declaration.dense_column: "free.dense",
        declaration.sparse_column: "free.sparse",
        declaration.hash_column: "free.hash",
        declaration.pending_column: "NULL",
    }
    return fill(
        _WRITE,
        **_common(declaration),
        declared=is_still_declared(registered),
        dense_type=dense_type,
        sparse_type=sparse_type,
        join_written=key_join(declaration, "d", sql.Identifier("written", "key")),
        join_free=key_join(declaration, "d", sql.Identifier("free", "key")),
        order=sql.SQL(", ").join(sql.Identifier("d", column.name) for column in declaration.key),
        assignments=sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.SQL(value))
            for column, value in assignments.items()
            if column in declaration.columns
        ),
    )
