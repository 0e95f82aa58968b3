"""Sync: encode everything that is pending, build what search needs, and say how it goes.

`sync_once` drains one embedding; `watch` keeps all embeddings of a database drained. Both may run in
any number of processes on any number of machines.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import psycopg

from gte_pg.database import Connection, Registered, connect, said
from gte_pg.declaration import Index, pending_index, search_indexes
from gte_pg.errors import DatabaseError
from gte_pg.sync.copy_keys import copy_keys, is_copied
from gte_pg.sync.failures import forget_stale_failures
from gte_pg.sync.indexes import build_index_until, to_build, update_statistics
from gte_pg.sync.key_frequencies import is_due, refresh_key_frequencies
from gte_pg.sync.locked import ask
from gte_pg.sync.members import Embeddings, drain, keep_drained
from gte_pg.sync.once_a_minute import OnceAMinute
from gte_pg.sync.status import clock, count_pending, is_pending_since, status
from gte_pg.sync.team import Team
from gte_pg.sync.unguarded import warn_if_unguarded

logger = logging.getLogger(__name__)

# How often one looks whether somebody else's index is there, or their transaction over.
_OTHERS_SECONDS = 0.25

# How soon one looks again whether search lacks anything, in seconds: after it was found in order, and after
# the attempt to build it failed, which may have taken long.
_LEAST_PAUSE = 1
_PAUSE_AFTER_FAILURE = 30
_TIMES_ITS_COST = 10
_LONGEST_PAUSE = 600


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sync stands. Rows are counted from its start, `begun` by time.monotonic().

    `pending` is what it found then; who watches has not counted them, and says so of those that it has
    encoded and those that are left.
    """

    stage: Literal["copying keys", "encoding", "indexing", "done"]
    pending: int
    encoded: int = 0
    failed: int = 0
    left: int = 0
    index: str = ""
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.begun


def sync_once(connection: Connection, registered: Registered, team: Team) -> Iterator[Progress]:
    """Encode the rows of one embedding that are pending now, then build its missing search indexes.

    A new embedding gets its companion's rows and the index of its pending rows first. Rows that come after
    the search indexes cost many times as much: where the team's limit leaves some, these are not built.

    Yields after every batch and before every index. The last value, stage `done`, says how many of these
    rows are `left`: failed, locked by somebody all the while, over the limit, or in another worker's lease.
    Raises DatabaseError if the table itself is locked for longer than a minute.
    """
    begun, progress = clock(connection), Progress("copying keys", 0)
    if not is_copied(connection, registered):
        yield progress
        _copy_keys(connection, registered, team)
    if not is_copied(connection, registered):
        yield replace(progress, stage="done", left=ask(team, registered, status).pending)
        return
    queue = pending_index(registered.declaration)
    if ask(team, registered, partial(to_build, indexes=[queue])):
        yield replace(progress, stage="indexing", index=queue.name)
        _build_queue(team, registered, queue)
    pending = ask(team, registered, count_pending if team.stop.is_set() else _forget_and_count)
    progress = replace(progress, stage="encoding", pending=pending)
    yield progress
    if progress.pending:
        for done in drain(team, registered):
            progress = replace(
                progress,
                encoded=progress.encoded + done.encoded,
                failed=progress.failed + done.failed,
            )
            yield progress
    if not team.stop.is_set():
        is_cut_short = team.limit.rows == 0 and ask(
            team, registered, partial(is_pending_since, moment=begun)
        )
        for name in _prepare_search(team, registered, progress.encoded, build=not is_cut_short):
            yield replace(progress, stage="indexing", index=name)
    left = ask(team, registered, partial(count_pending, since=begun))
    yield replace(progress, stage="done", left=left)


def watch(team: Team, embeddings: Embeddings) -> Iterator[tuple[Registered, Progress]]:
    """Keep these embeddings encoded until the team's `stop` is set; yields when one is drained.

    Those that are added later are found. A lost connection is opened again, for ever, and a model
    whose files or whose memory are missing is tried again: no row is blamed for any of it. Logs which of
    them lack triggers.
    """
    forgotten = OnceAMinute()
    counts: dict[Registered, Progress] = {}
    not_before: dict[Registered, float] = {}
    unseen: Counter[Registered] = Counter()  # rows encoded since search was last seen to
    for registered, done in keep_drained(team, _guarded(embeddings)):
        begun = time.monotonic() if done is None else done.begun
        so_far = counts.get(registered, Progress("encoding", 0, begun=begun))
        if done is not None:
            counts[registered] = replace(
                so_far, encoded=so_far.encoded + done.encoded, failed=so_far.failed + done.failed
            )
            continue
        counts.pop(registered, None)
        if team.stop.is_set():
            continue  # of many embeddings, much may still be to be told
        unseen[registered] += so_far.encoded
        looked = time.monotonic()
        try:
            if looked >= not_before.get(registered, 0):
                for name in _prepare_search(team, registered, unseen[registered], patient=False):
                    yield registered, replace(so_far, stage="indexing", index=name)
                if forgotten.is_due(registered.id):
                    ask(team, registered, forget_stale_failures, patient=False)
                # What was told while it took so long is all seen to by now.
                not_before[registered] = time.monotonic() + _LEAST_PAUSE
                del unseen[registered]
            left = ask(team, registered, count_pending, patient=False)
        except (psycopg.Error, DatabaseError) as error:
            if not _is_there(team, embeddings, registered):
                continue
            # An index whose build fails after an hour is not begun again at once.
            now = time.monotonic()
            pause = min(_TIMES_ITS_COST * (now - looked), _LONGEST_PAUSE)
            again = now + max(_PAUSE_AFTER_FAILURE, pause)
            not_before[registered] = max(again, not_before.get(registered, 0))
            logger.warning("%s: %s", registered, said(error))
            continue
        yield registered, replace(so_far, stage="done", pending=so_far.encoded + left, left=left)


def _guarded(embeddings: Embeddings) -> Embeddings:
    """Return what asks for the embeddings, and logs which of them lack triggers."""
    looked_at = OnceAMinute()

    def guarded(connection: Connection) -> list[Registered]:
        found = embeddings(connection)
        for registered in found:
            if looked_at.is_due(registered.id):
                warn_if_unguarded(connection, registered)
        return found

    return guarded


def _copy_keys(connection: Connection, registered: Registered, team: Team) -> None:
    while not copy_keys(connection, registered, team.stop) and not team.stop.is_set():
        ask(team, registered, is_copied)  # the table may be locked
        team.stop.wait(_OTHERS_SECONDS)


def _build_queue(team: Team, registered: Registered, queue: Index) -> None:
    while not team.stop.is_set():
        if build_index_until(team.stop, team.dsn, registered, queue):
            return
        team.stop.wait(_OTHERS_SECONDS)


def _forget_and_count(connection: Connection, registered: Registered) -> int:
    # Before any failure is recorded: after a change of the primary key all are forgotten.
    forget_stale_failures(connection, registered)
    return count_pending(connection, registered)


def _prepare_search(
    team: Team, registered: Registered, new_rows: int, *, build: bool = True, patient: bool = True
) -> Iterator[str]:
    """See to what search needs after so many new vectors; yields each index' name before it is built.

    No connection is open while one is built: one that is idle for so long may be gone.
    """

    def lacks(connection: Connection, registered: Registered) -> tuple[list[Index], bool]:
        indexes = search_indexes(registered.declaration) if build else []
        missing = to_build(connection, registered, indexes)
        return missing, bool(missing) or is_due(connection, registered, new_rows)

    missing, is_old = ask(team, registered, lacks, patient=patient)
    for index in missing:
        yield index.name
        if not build_index_until(team.stop, team.dsn, registered, index):
            return  # told to stop, or somebody else is building it
    if is_old:
        with connect(team.dsn) as connection:
            if missing:
                update_statistics(connection, registered.declaration)
            refresh_key_frequencies(connection, registered)


def _is_there(team: Team, embeddings: Embeddings, registered: Registered) -> bool:
    """Whether the embedding has been neither removed nor changed; taken for granted if nobody can say."""
    try:
        with connect(team.dsn) as connection:
            return registered in embeddings(connection)
    except (psycopg.Error, DatabaseError):
        return True
