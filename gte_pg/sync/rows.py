"""Read the text of leased rows, and write their vectors back."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from gte_pg.database import Connection, fill
from gte_pg.database.binary import sparse_array, type_oid, vector_array
from gte_pg.declaration import (
    WRITE_BACK_SETTING,
    Declaration,
    key_join,
    row_hash,
    row_is_empty,
    row_text,
)
from gte_pg.encoder import Encoded

# An application's statement that meets a row lock of the write-back waits for one such transaction.
_ROWS_PER_TRANSACTION = 256


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one row as it was read, and its hash then."""

    key: str
    text: str
    hash: bytes


# By key, without any lock. Rows that are gone or done meanwhile are not returned.
_READ = sql.SQL("""
SELECT leased.key, {text}, {hash}
FROM unnest(%(keys)s::text[]) AS leased (key) JOIN {relation} AS d ON {join}
WHERE {pending} IS NOT NULL
""")

# Rows that had no text when the embedding was declared are pending like all others then.
_CLEAR = sql.SQL("""
WITH free AS MATERIALIZED (
    SELECT empty.key FROM unnest(%(keys)s::text[]) AS empty (key) JOIN {relation} AS d ON {join}
    WHERE {pending} IS NOT NULL AND {is_empty}
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {relation} AS d SET {pending_name} = NULL
FROM free AS empty WHERE {join} AND {is_empty}
""")

# Rows are locked in the order of their key and only where nobody else holds them; a row whose text
# is no longer the one that was encoded is left pending. The triggers would refuse it anyway.
_WRITE = sql.SQL("""
WITH written AS MATERIALIZED (
    SELECT * FROM unnest(
        %(keys)s::text[], %(hashes)s::bytea[], %(dense)b::{storage}[], %(sparse)b::sparsevec[]
    ) AS array_row (key, hash, dense, sparse)
), free AS MATERIALIZED (
    SELECT written.key FROM written JOIN {relation} AS d ON {join}
    WHERE {pending} IS NOT NULL AND {hash} = written.hash
    ORDER BY {order}
    FOR NO KEY UPDATE OF d SKIP LOCKED
)
UPDATE {relation} AS d SET {assignments}
FROM written JOIN free USING (key)
WHERE {join} AND {pending} IS NOT NULL AND {hash} = written.hash
""")

# The triggers then keep every other column as it was, whatever the application's own triggers did.
_WRITING_BACK = "SELECT set_config(%s, %s, true)"

# Without statistics the planner would rather hash the whole table than look rows up by key.
_PIN_PLAN = """
SELECT set_config(name, 'off', true)
FROM unnest(ARRAY['enable_hashjoin', 'enable_mergejoin', 'enable_seqscan']) AS name
"""


def read_texts(
    connection: Connection, declaration: Declaration, keys: list[str]
) -> tuple[list[Text], list[str]]:
    """Return the present texts of the pending rows among these, and the keys of those without text."""
    statement = fill(
        _READ,
        text=row_text(declaration, "d"),
        hash=row_hash(declaration, "d"),
        relation=declaration.relation,
        join=key_join(declaration, "d", sql.Identifier("leased", "key")),
        pending=sql.Identifier("d", declaration.pending_column),
    )
    with connection.transaction():
        connection.execute(_PIN_PLAN)
        rows = connection.execute(statement, {"keys": keys}).fetchall()
    texts = [Text(*row) for row in rows if row[1] is not None]
    return texts, [key for key, text, _ in rows if text is None]


def clear_empty(connection: Connection, declaration: Declaration, keys: list[str]) -> int:
    """Take rows without text off the work list and return how many let themselves be taken."""
    if not keys:
        return 0
    statement = fill(
        _CLEAR,
        relation=declaration.relation,
        join=key_join(declaration, "d", sql.Identifier("empty", "key")),
        pending=sql.Identifier("d", declaration.pending_column),
        pending_name=sql.Identifier(declaration.pending_column),
        is_empty=row_is_empty(declaration, "d"),
    )
    with connection.transaction():
        connection.execute(_PIN_PLAN)
        connection.execute(_WRITING_BACK, (WRITE_BACK_SETTING, declaration.name))
        return connection.execute(statement, {"keys": keys}).rowcount


class Writer:
    """Writes encoded rows back to one embedding, in short transactions."""

    def __init__(self, connection: Connection, declaration: Declaration) -> None:
        self._connection = connection
        self._declaration = declaration
        self._dense_oid = type_oid(connection, declaration.storage)
        self._sparse_oid = type_oid(connection, "sparsevec")
        self._statement = _write_statement(declaration)

    def write(self, texts: list[Text], encoded: Encoded) -> int:
        """Store the vectors of `texts` and return how many rows took them.

        The others have changed since they were read, or are locked by somebody: they stay pending.
        """
        return sum(
            self._write_rows(texts, encoded, start, min(start + _ROWS_PER_TRANSACTION, len(texts)))
            for start in range(0, len(texts), _ROWS_PER_TRANSACTION)
        )

    def _write_rows(self, texts: list[Text], encoded: Encoded, start: int, stop: int) -> int:
        declaration = self._declaration
        half = declaration.storage == "halfvec"
        # A model without token weights sends an empty array, which unnest pads with NULL.
        weights = [] if encoded.sparse is None else [encoded.sparse[i] for i in range(start, stop)]
        values = {
            "keys": [text.key for text in texts[start:stop]],
            "hashes": [text.hash for text in texts[start:stop]],
            "dense": vector_array(encoded.dense[start:stop], self._dense_oid, half=half),
            "sparse": sparse_array(weights, declaration.sparse_dimensions or 1, self._sparse_oid),
        }
        with self._connection.transaction():
            self._connection.execute(_PIN_PLAN)
            self._connection.execute(_WRITING_BACK, (WRITE_BACK_SETTING, declaration.name))
            return self._connection.execute(self._statement, values).rowcount


def _write_statement(declaration: Declaration) -> sql.Composed:
    assignments = {
        declaration.dense_column: "written.dense",
        declaration.sparse_column: "written.sparse",
        declaration.hash_column: "written.hash",
        declaration.pending_column: "NULL",
    }
    return fill(
        _WRITE,
        storage=sql.SQL(declaration.storage),
        relation=declaration.relation,
        join=key_join(declaration, "d", sql.Identifier("written", "key")),
        pending=sql.Identifier("d", declaration.pending_column),
        hash=row_hash(declaration, "d"),
        order=sql.SQL(", ").join(sql.Identifier("d", column.name) for column in declaration.key),
        assignments=sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.SQL(value))
            for column, value in assignments.items()
            if column in declaration.columns
        ),
    )
