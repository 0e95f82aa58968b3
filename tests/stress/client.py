"""An application: a process that writes to all tables, in transactions of every kind."""

from __future__ import annotations

import logging
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier

import psycopg
from psycopg import errors

from gte_pg.database import Connection
from tests.stress.roads import Writer
from tests.stress.subjects import Subject

# What an application must expect of Postgres, whether it has embeddings or not. A deadlock is one only
# with another application; see `_deadlock`. ObjectInUse is TRUNCATE where the check of a deferred key is
# still to come.
_EXPECTED = (errors.UniqueViolation, errors.SerializationFailure, errors.ObjectInUse)

# How often a transaction …
_REPEATABLE = 0.1
_SEVERAL = 0.3
_ROLLED_BACK = 0.08
_HELD = 0.01
_HELD_SECONDS = 0.3
_SAVEPOINT = 0.3
_DEFERRED = 0.3

_NAME = "stress application"

# Nobody else waits for that.
_WAITS_AS_A_BUILD = "waits for ShareLock on virtual transaction"

_BLOCKER = "SELECT application_name FROM pg_stat_activity WHERE pid = %s"


@dataclass
class Diary:
    """What one application did and what became of it."""

    operations: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    longest: float = 0.0


def write(
    dsn: str,
    subjects: Sequence[Subject],
    keys: int,
    only: Sequence[str],
    seed: str,
    seconds: float,
    everyone: Barrier,
    diaries: SimpleQueue[Diary],
) -> None:
    """Wait for everyone else, then write for so long; the diary is put into the queue at the end.

    `only` names the roads to take, if not all of them.
    """
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    diary = Diary()
    try:
        client = _Client(dsn, subjects, keys, only, random.Random(seed), diary)
        everyone.wait()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.transaction()
    except Exception as error:  # noqa: BLE001 - whatever it is, it stands in the diary
        diary.unexpected.append(f"the application ended: {error!r}")
    diaries.put(diary)


class _Client:
    def __init__(
        self,
        dsn: str,
        subjects: Sequence[Subject],
        keys: int,
        only: Sequence[str],
        chance: random.Random,
        diary: Diary,
    ) -> None:
        self._dsn, self._random, self._diary = dsn, chance, diary
        self._connection = self._connected()
        self._writers = [
            Writer(subject, subject.registered(self._connection), keys, only, chance)
            for subject in subjects
        ]

    def transaction(self) -> None:
        """Write to one table in a transaction of some kind, and note how it went."""
        writer = self._random.choice(self._writers)
        begun = time.monotonic()
        held = self._random.random() < _HELD
        try:
            if held or self._random.random() < _SEVERAL:
                self._several(writer, held=held)
            else:
                self._write(writer)
        except _EXPECTED as error:
            self._diary.errors[type(error).__name__] += 1
        except errors.DeadlockDetected as error:
            self._deadlock(error, writer.subject)
        except psycopg.OperationalError as error:
            if not self._connection.closed:
                self._diary.unexpected.append(repr(error))
            self._diary.errors["connection lost"] += 1
            self._connection = self._connected()
            return
        except psycopg.Error as error:
            self._diary.unexpected.append(repr(error))
        seconds = time.monotonic() - begun - (_HELD_SECONDS if held else 0)
        self._diary.longest = max(self._diary.longest, seconds)

    def _several(self, writer: Writer, *, held: bool) -> None:
        rolled_back = self._random.random() < _ROLLED_BACK
        with self._connection.transaction(force_rollback=rolled_back):
            if self._random.random() < _REPEATABLE:
                self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            if self._random.random() < _DEFERRED:
                self._connection.execute("SET CONSTRAINTS ALL DEFERRED")
            for _ in range(self._random.randint(1, 4)):
                if self._random.random() < _SAVEPOINT:
                    undone = self._random.random() < 0.5
                    with self._connection.transaction(force_rollback=undone):
                        self._write(writer)
                else:
                    self._write(writer)
            if held:
                time.sleep(_HELD_SECONDS)

    def _write(self, writer: Writer) -> None:
        road = writer.pick()
        try:
            writer.write(self._connection, road)
        except psycopg.Error as error:
            error.add_note(f"{road} in {writer.subject.written}")
            raise
        self._diary.operations[road] += 1

    def _deadlock(self, error: errors.DeadlockDetected, subject: Subject) -> None:
        """Note who was met.

        Applications that write many rows in any order may meet each other, but never a worker. There are
        two exceptions: while a deferred key stands twice, whoever updates the row that is to leave it
        waits for the one that is to come, as any UPDATE would. And a TRUNCATE that comes in the moment that
        an index of the table is finished and the CREATE INDEX CONCURRENTLY, anybody's, wait for each other.
        """
        detail = error.diag.message_detail or ""
        own = self._connection.info.backend_pid
        blockers = {int(pid) for pid in re.findall(r"[Pp]rocess (\d+)", detail)} - {own}
        names = {
            name
            for pid in blockers
            for (name,) in self._connection.execute(_BLOCKER, (pid,)).fetchall()
        }
        notes = ", ".join(getattr(error, "__notes__", []))
        on_the_row = any(one.layout == "columns" for one in subject.embeddings)
        if names <= {_NAME}:
            self._diary.errors["deadlock of applications"] += 1
        elif on_the_row and _WAITS_AS_A_BUILD in detail and "truncate in" in notes:
            self._diary.errors["deadlock of TRUNCATE and an index build"] += 1
        elif subject.deferrable and on_the_row:
            self._diary.errors["deadlock over a deferred key"] += 1
        else:
            self._diary.unexpected.append(f"deadlock with {names - {_NAME}}: {notes}: {detail}")

    def _connected(self) -> Connection:
        while True:
            try:
                return psycopg.connect(self._dsn, autocommit=True, application_name=_NAME)
            except psycopg.OperationalError:
                time.sleep(0.1)
