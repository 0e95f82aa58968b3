"""Read the text of leased rows, a few megabytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from gte_pg.database import Connection, fill
from gte_pg.declaration import (
    Declaration,
    join_source,
    key_join,
    row_hash,
    row_text,
    text_row,
)
from gte_pg.sync.refusals import Refusal, is_of_a_row, told
from gte_pg.sync.settings import looking_up
from gte_pg.sync.versions import row_mark, row_version

# So much text is in memory at a time, about: some 10 MB.
_CHARACTERS_PER_READ = 4_000_000
_FIRST_ROWS_PER_READ = 32


@dataclass(frozen=True, slots=True)
class Text:
    """The text of one row as it was read, its hash then, and the version of its companion row.

    `mark` is what a failure of it is found again by.
    """

    key: str
    text: str
    hash: bytes
    version: str
    mark: bytes


@dataclass(frozen=True, slots=True)
class Textless:
    """A pending row that has no text, or a companion row whose row is gone."""

    key: str
    version: str
    mark: bytes


@dataclass(frozen=True, slots=True)
class Read:
    """Rows as they were read. The text of those that are refused nobody knows: the expression raises."""

    texts: list[Text]
    textless: list[Textless]
    refusals: list[Refusal]

    def __add__(self, other: Read) -> Read:
        return Read(
            self.texts + other.texts,
            self.textless + other.textless,
            self.refusals + other.refusals,
        )


# By key, without any lock. Rows that are gone or done meanwhile are not returned.
_READ = sql.SQL("""
SELECT leased.key, {text}, {hash}, {version}, {mark}
FROM unnest(%(keys)s::text[]) AS leased (key) JOIN {vectors} AS d ON {join} {source}
WHERE {pending} IS NOT NULL
""")


class Reader:
    """Reads the rows of one embedding."""

    def __init__(self, connection: Connection, declaration: Declaration) -> None:
        self._connection = connection
        self._declaration = declaration
        nothing = sql.SQL("NULL")
        self._read = _read(declaration)
        self._read_marks = _read(declaration, text=nothing, hash=nothing)
        self._rows_per_read = _FIRST_ROWS_PER_READ

    def statement(self) -> sql.Composed:
        """Return the statement that reads the texts of a batch."""
        return self._read

    def read(self, keys: list[str]) -> Read:
        """Return the present texts of the pending rows among these, and those without text.

        A row for which the expression raises is refused, and its neighbours are read.
        """
        try:
            return self._read_rows(self._read, keys)
        except psycopg.Error as error:
            if self._declaration.expression is None or not is_of_a_row(error):
                raise
            if len(keys) == 1:
                unreadable = self._read_rows(self._read_marks, keys).textless
                wrong = f"its text cannot be made: {told(error)}"
                return Read([], [], [Refusal(row.key, row.mark, wrong) for row in unreadable])
        middle = len(keys) // 2
        return self.read(keys[:middle]) + self.read(keys[middle:])

    def read_in_parts(self, keys: list[str]) -> Iterator[Read]:
        """Read them as `read` does, so many at a time as have a few megabytes of text.

        How long texts are is told by those that were read before.
        """
        start = 0
        while start < len(keys):
            stop = start + self._rows_per_read
            read = self.read(keys[start:stop])
            yield read
            longest = max((len(text.text) for text in read.texts), default=1)
            fitting = max(1, _CHARACTERS_PER_READ // longest)
            self._rows_per_read = min(fitting, 2 * self._rows_per_read)
            start = stop

    def _read_rows(self, statement: sql.Composed, keys: list[str]) -> Read:
        with looking_up(self._connection, self._declaration):
            rows = self._connection.execute(statement, {"keys": keys}).fetchall()
        texts: list[Text] = []
        textless: list[Textless] = []
        for key, text, text_hash, version, other_mark in rows:
            mark = (text_hash or b"") if other_mark is None else other_mark
            if text is None:
                textless.append(Textless(key, version, mark))
            else:
                texts.append(Text(key, text, text_hash, version, mark))
        return Read(texts, textless, [])


def _read(declaration: Declaration, **others: sql.Composable) -> sql.Composed:
    row = text_row(declaration)
    terms = {
        "text": row_text(declaration, row),
        "hash": row_hash(declaration, row),
        # The hash of a text is its mark, and not computed twice.
        "mark": row_mark(declaration, row) if declaration.expression else sql.SQL("NULL::bytea"),
    }
    return fill(
        _READ,
        **terms | others,
        vectors=declaration.vectors,
        source=join_source(declaration),
        pending=sql.Identifier("d", declaration.pending_column),
        version=row_version(declaration),
        join=key_join(declaration, "d", sql.Identifier("leased", "key")),
    )
