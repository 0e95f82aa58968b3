"""The members of a team: worker threads that share an encoder, each with a connection of its own.

While one encodes, the others claim, read and write: the encoder, which is what takes the time, is kept
busy. Leases keep the members of all teams, on all machines, apart.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator

import psycopg

from gte_pg.database import Connection, Registered, connect_to_stay, said
from gte_pg.errors import DatabaseError, GtePgError
from gte_pg.sync.locked import telling_of_locks
from gte_pg.sync.once_a_minute import OnceAMinute
from gte_pg.sync.share import Share
from gte_pg.sync.team import Team
from gte_pg.sync.worker import Round

logger = logging.getLogger(__name__)

Embeddings = Callable[[Connection], list[Registered]]

# Polling an empty work list takes a fraction of a millisecond and works through every pooler.
_POLL_SECONDS = 0.25

# A batch that could write nothing met rows that others hold: they need a moment.
_BLOCKED_SECONDS = 0.2

# How often a worker meets nothing but held rows before it leaves them.
_MOST_BLOCKED = 50

_RETRY_SECONDS = (0.5, 1, 2, 5, 10)

# How soon a new embedding is found: to ask for very many takes long.
_ASK_SECONDS = 1
_TIMES_ITS_COST = 10

# How often a team that is to drain its embeddings and leave tries to come back to a lost database.
_MOST_LOST = 10

# What a worker reports: a round, None when all is done that was pending when it began with an embedding,
# upon which it begins anew; at its end None or an error.
_Report = tuple["Registered", "Round | None"] | Exception | None


def drain(team: Team, registered: Registered) -> Iterator[Round]:
    """Work until all is done that is pending now; yields after every batch.

    Of what is written meanwhile much is done too. A database that goes away, and a table that is
    locked, are waited for about a minute, and a worker that cannot come back is done without; if none
    can, or at any other error of one, the team stops and the error is raised.
    """
    for _, done in _run(team, lambda _connection: [registered], forever=False):
        if done is not None:
            yield done


def keep_drained(team: Team, embeddings: Embeddings) -> Iterator[tuple[Registered, Round | None]]:
    """Work until the team's `stop` is set, on these embeddings in turn; None says that one is drained, of
    what was pending at some time before: where rows are written all the while, some always are.

    `embeddings` is asked again every few seconds. Nothing but `stop` ends it: a database that goes
    away, a table that is locked, or a model whose files or whose memory are missing, is tried again,
    and holds up no other embedding.
    """
    yield from _run(team, embeddings, forever=True)


def _run(
    team: Team, embeddings: Embeddings, *, forever: bool
) -> Iterator[tuple[Registered, Round | None]]:
    reports: queue.SimpleQueue[_Report] = queue.SimpleQueue()
    turn, failed, told = threading.Lock(), threading.Event(), OnceAMinute()
    members = [
        _Member(team, embeddings, forever, turn, failed, told, reports) for _ in range(team.workers)
    ]
    threads = [
        threading.Thread(target=member.work, name="gte-pg-sync", daemon=True) for member in members
    ]
    for thread in threads:
        thread.start()
    working = len(threads)
    problem: Exception | None = None
    losses = 0
    try:
        while working:
            report = reports.get()
            if isinstance(report, tuple):
                yield report
                continue
            working -= 1
            if report is None:
                continue
            losses += _is_loss(report)
            if _is_loss(report) and losses < len(threads):
                # The others do its work, or have done it.
                logger.warning("one worker fewer: %s", str(report).strip())
                continue
            problem = problem or report
            failed.set()
    finally:
        if working:
            team.stop.set()
        for thread in threads:
            thread.join()
    if problem is not None:
        raise problem


class _Member:
    """One thread of a team."""

    def __init__(
        self,
        team: Team,
        embeddings: Embeddings,
        forever: bool,
        turn: threading.Lock,
        failed: threading.Event,
        told: OnceAMinute,
        reports: queue.SimpleQueue[_Report],
    ) -> None:
        self._team, self._embeddings, self._forever = team, embeddings, forever
        self._turn, self._failed, self._told, self._reports = turn, failed, told, reports
        # How often the database went away since it last answered.
        self._lost = 0
        self._shares: dict[Registered, Share] = {}

    def work(self) -> None:
        """Work until there is nothing to do, or for ever; what ended it is reported."""
        try:
            while not self._is_over():
                try:
                    with connect_to_stay(self._team.dsn) as connection:
                        self._work_connected(connection)
                    if not self._forever:
                        break
                except (psycopg.Error, DatabaseError) as error:
                    self._wait_for_database(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the team's caller gets it
            self._reports.put(error)
        else:
            self._reports.put(None)

    def _is_over(self) -> bool:
        """Whether the team was told to stop, or another member has failed."""
        return self._team.stop.is_set() or self._failed.is_set()

    def _wait_for_database(self, error: Exception) -> None:
        if not self._forever and not (_is_loss(error) and self._lost < _MOST_LOST):
            raise error
        wait = _RETRY_SECONDS[min(self._lost, len(_RETRY_SECONDS) - 1)]
        self._lost += 1
        if self._told.is_due(said := str(error).strip()):
            logger.warning("%s; again in %s s", said, wait)
        self._team.stop.wait(wait)

    def _work_connected(self, connection: Connection) -> None:
        stop = self._team.stop
        for share in self._shares.values():
            share.give_back(connection)
        blocked = 0
        embeddings, ask_at = self._ask(connection)
        while not self._is_over():
            done = [self._round(connection, one) for one in embeddings]
            rounds = [one for one in done if one is not None]
            if any(one.left and not one.encoded for one in rounds):
                blocked += 1
                stop.wait(_BLOCKED_SECONDS)
            else:
                blocked = 0
            if not self._forever and (not rounds or blocked >= _MOST_BLOCKED):
                return
            if not rounds:
                stop.wait(_POLL_SECONDS)
            if self._forever and time.monotonic() > ask_at:
                embeddings, ask_at = self._ask(connection)

    def _ask(self, connection: Connection) -> tuple[list[Registered], float]:
        """Return the embeddings, and when to ask again, by time.monotonic()."""
        asked = time.monotonic()
        embeddings = self._embeddings(connection)
        # Those that are gone, or changed, are not kept, nor are their encoders.
        self._shares = {one: share for one, share in self._shares.items() if one in embeddings}
        now = time.monotonic()
        return embeddings, now + max(_ASK_SECONDS, _TIMES_ITS_COST * (now - asked))

    def _round(self, connection: Connection, registered: Registered) -> Round | None:
        if registered not in self._shares:
            self._shares[registered] = Share(self._team, registered, self._turn)
        share = self._shares[registered]
        if self._team.stop.is_set() or share.is_put_off:
            return None
        try:
            with telling_of_locks(registered):
                if self._forever and not share.prepare(connection):
                    return None
                done = share.round(connection)
        except (psycopg.Error, GtePgError) as error:
            if not self._forever or connection.closed:
                raise
            if registered not in self._embeddings(connection):
                return None  # it has been removed, or changed
            # Its model or its rights are missing, or it is locked: that is nobody else's trouble.
            logger.warning("%s: %s", registered, said(error))
            share.put_off(_RETRY_SECONDS[-1])
            return None
        self._lost = 0
        if done is not None:
            self._reports.put((registered, done))
        elif self._forever and not share.is_whole:
            pass  # rows are still to come: the search indexes are not built before them
        elif share.end():
            self._reports.put((registered, None))
        return done


def _is_loss(error: Exception) -> bool:
    """Whether the database went away, or lets nobody in."""
    return isinstance(error, (psycopg.OperationalError, DatabaseError))
