"""Rows that the database does not let be read or written, though their neighbours can be.

The expression that makes the text may raise for what a row holds. An UPDATE of a row fails if the row
breaks a constraint that came after it (NOT VALID), or if a trigger of the application's forbids it; a
BEFORE trigger that returns NULL suppresses it without a word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psycopg

# After so many attempts a row is parked: it waits for new text or for `gte-pg retry`.
MOST_ATTEMPTS = 5

# For what may pass by itself, a lack of memory say.
ENDLESS_ATTEMPTS = 2**31 - 1

# Classes of SQLSTATE that tell of the connection, of rights, of the server or of the statement itself, and
# nothing of a row. Whatever else ends a statement is the row's; so is what a trigger raises, by any code.
_NOT_OF_A_ROW = {"08", "0A", "25", "28", "40", "42", "53", "55", "57", "58", "F0", "XX"}

# pgvector's words for a vector that does not fit the column: the embedding has been switched meanwhile.
_OTHER_DIMENSIONS = ("22000", "expected ")

_RAISE = "exec_stmt_raise"

_SUPPRESSED = (
    "a trigger of the table suppresses every UPDATE of this row, by returning NULL or OLD: its vector "
    "cannot be stored. Let the trigger pass it, or use the layout companion"
)


class Row(Protocol):
    """What is to be written: its key as a text, and what a failure of it is found again by."""

    @property
    def key(self) -> str: ...

    @property
    def mark(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that could not be read, encoded or written; after so many attempts it is parked."""

    key: str
    mark: bytes
    error: str
    most_attempts: int = MOST_ATTEMPTS


@dataclass(frozen=True, slots=True)
class Written:
    """How many rows were written, and those that cannot be, as they are now.

    The others have changed since they were read, or are locked by somebody.
    """

    rows: int
    refusals: list[Refusal]

    def __add__(self, other: Written) -> Written:
        return Written(self.rows + other.rows, self.refusals + other.refusals)


def suppressed(row: Row) -> Refusal:
    return Refusal(row.key, row.mark, _SUPPRESSED)


def write_apart(
    rows: Sequence[Row], start: int, stop: int, write: Callable[[int, int], Written]
) -> Written:
    """Write the rows from `start` to `stop`; where one of them is refused, the others without it.

    `write` is a transaction of its own, all or nothing.
    """
    try:
        return write(start, stop)
    except psycopg.Error as error:
        if is_of_a_row(error):
            alone = [Refusal(rows[start].key, rows[start].mark, told(error))]
        elif isinstance(error, psycopg.errors.SerializationFailure):
            # A row was moved to another partition in that moment: it has changed, as others have.
            alone = []
        else:
            raise
    if stop - start == 1:
        return Written(0, alone)
    middle = (start + stop) // 2
    return write_apart(rows, start, middle, write) + write_apart(rows, middle, stop, write)


def told(error: psycopg.Error) -> str:
    """Return what is wrong: the detail beside it has the row's values, which are nobody else's business."""
    return error.diag.message_primary or repr(error)


def is_of_a_row(error: psycopg.Error) -> bool:
    """Whether it is what a row holds that ended a statement: without that row it would do."""
    if error.sqlstate is None:
        return False
    if error.diag.source_function == _RAISE:
        return True
    code, words = _OTHER_DIMENSIONS
    if error.sqlstate == code and (error.diag.message_primary or "").startswith(words):
        return False
    return error.sqlstate[:2] not in _NOT_OF_A_ROW
