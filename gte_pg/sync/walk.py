"""A walk over the pending rows in one direction, which remembers where it is.

The entries of finished rows stay in the index as long as any old transaction is open, and a walk
from its end has to step over all of them. So a walk goes on from where it was. It begins again when it
comes to the end, and now and then in between: rows that were committed late, or were held by somebody,
lie behind it.

Rows that cannot be claimed, as they are parked or leased, are stepped over too. Where a walk from its end
has met nothing else, the next ones look for a while at what has become pending since, and no further: a
parked row that is to be tried again, or has new text, is found a little later.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

# A walk begins again after so many seconds, or after so many times what beginning took, if that is
# longer: fresh rows are found within a second, and at most a tenth of the time goes into stepping over.
_SECONDS = 0.5
_TIMES_ITS_COST = 10

Direction = Literal["newest", "oldest"]

EVER = "-infinity"


@dataclass(slots=True)
class Walk:
    """`position` is the `pending` (as text) and key of the last row that was taken; None: at the start.

    It takes rows that are pending `since` a moment (as text): of those before, none could be claimed.
    """

    direction: Direction
    position: tuple[str, str] | None = None
    since: str = EVER
    _begun: float = field(default=0.0)
    _cost: float = field(default=0.0)

    def begin_if_due(self) -> None:
        """Go back to the start, and look at all rows again, if the last beginning is long ago."""
        passed, pause = time.monotonic() - self._begun, _TIMES_ITS_COST * self._cost
        if passed > pause:
            self.since = EVER
        if passed > max(_SECONDS, pause):
            self.position = None

    def go_on(self, seconds: float) -> None:
        """Do not go back for so long: what lies behind is held by somebody."""
        self._begun = time.monotonic() + seconds

    def begun(self, seconds: float) -> None:
        """Remember that the walk was begun, which took so many seconds."""
        self._begun, self._cost = time.monotonic(), seconds


@dataclass(frozen=True, slots=True)
class Walks:
    """Those of one worker. Who comes after it goes on from where they are."""

    newest: Walk = field(default_factory=lambda: Walk("newest"))
    oldest: Walk = field(default_factory=lambda: Walk("oldest"))
