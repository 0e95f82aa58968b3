"""A member's share in one embedding: to see that its work list is whole, and to work it off in batches."""

from __future__ import annotations

import math
import threading
import time

from gte_pg.database import Connection, Registered
from gte_pg.declaration import pending_index
from gte_pg.errors import ModelError
from gte_pg.sync.copy_keys import copy_keys
from gte_pg.sync.indexes import build_index_until, to_build
from gte_pg.sync.locked import while_free
from gte_pg.sync.status import clock, has_pending
from gte_pg.sync.team import Team
from gte_pg.sync.walk import Walks
from gte_pg.sync.worker import Round, Worker

# How soon it is told again that an embedding is drained, and looked whether its work list is whole: an
# index may be gone, or still to come.
_LOOK_SECONDS = 60

# How soon it is looked again whether somebody else has built the index of the work list.
_OTHERS_SECONDS = 1


class Share:
    """What one member of a team does of one embedding. Moments are by time.monotonic()."""

    def __init__(self, team: Team, registered: Registered, turn: threading.Lock) -> None:
        self._team, self._registered, self._turn = team, registered, turn
        # Where its workers are in the work list, one after the other.
        self._walks = Walks()
        # On the present connection, or on one that was lost; None while there is nothing to do.
        self._worker: Worker | None = None
        # So long it looks which rows others hold.
        self._wary_until = 0.0
        # When it is tried again, if it could not be worked on.
        self._not_before = 0.0
        # When it was last seen that the work list is whole, and last told that it is drained, unless there
        # was something to do since.
        self._seen_whole = self._told = -math.inf

    @property
    def is_put_off(self) -> bool:
        """Whether it is to be left alone for now."""
        return time.monotonic() < self._not_before

    @property
    def is_whole(self) -> bool:
        """Whether the work list was seen to have all rows, and its index or nobody here to build it."""
        return self._seen_whole > -math.inf

    def put_off(self, seconds: float) -> None:
        """Leave it alone for so long: it cannot be worked on."""
        self._not_before = time.monotonic() + seconds

    def give_back(self, connection: Connection) -> None:
        """Give the batch that it was at, when its connection was lost, to others."""
        if self._worker is not None:
            self._worker.give_back(connection)
            self._worker = None

    def prepare(self, connection: Connection) -> bool:
        """Whether the work list can be worked on; sees to its rows and its index, unless another is at it.

        True as well where this role may not build the index: slow is better than not at all.
        """
        if time.monotonic() - self._seen_whole <= _LOOK_SECONDS:
            return True
        team, registered = self._team, self._registered
        copied = copy_keys(connection, registered, team.stop)
        queue = pending_index(registered.declaration)
        with while_free(connection, registered):
            missing = to_build(connection, registered, [queue])
        if missing and not build_index_until(team.stop, team.dsn, registered, queue):
            self.put_off(_OTHERS_SECONDS)
            return False
        if copied:
            self._seen_whole = time.monotonic()
        return True

    def round(self, connection: Connection) -> Round | None:
        """Work on a batch; None if there is nothing to do, or nothing that may be done."""
        try:
            return self._round(connection)
        except MemoryError as error:
            raise _too_little_memory(self._registered, error) from error

    def _round(self, connection: Connection) -> Round | None:
        if self._worker is None:
            # A model is loaded when there is something to do for it.
            if not has_pending(connection, self._registered):
                return None
            self._worker = self._begin(connection)
        limit = self._team.limit
        rows = limit.take(self._team.batch_rows)
        if not rows:
            return None
        done = None
        try:
            done = self._worker.round(rows)
            self._wary_until = self._worker.wary_until
            if done is not None:
                self._told = -math.inf
        finally:
            limit.give_back(rows - (done.encoded if done else 0))
        return done

    def _begin(self, connection: Connection) -> Worker:
        encoder = self._team.encoder_for(self._registered.declaration)
        return Worker(
            connection,
            self._registered,
            encoder,
            until=clock(connection),
            stop=self._team.stop,
            turn=self._turn,
            wary_until=self._wary_until,
            walks=self._walks,
        )

    def end(self) -> bool:
        """End it where nothing is left to do, to begin anew with what is pending then; whether to tell so.

        It is told when something has been done, and again and again where there was nothing to do.
        """
        self._worker = None
        if time.monotonic() - self._told <= _LOOK_SECONDS:
            return False
        self._told = time.monotonic()
        return True


def _too_little_memory(registered: Registered, error: MemoryError) -> ModelError:
    return ModelError(
        f"{registered.declaration.model} needs more memory than there is ({str(error) or 'none is left'}): "
        "give this process more, or encode on a larger machine; the rows stay pending"
    )
