"""A walk over the pending rows in one direction, which remembers where it is.

The entries of finished rows stay in the index as long as any old transaction is open, and a walk
from its end has to step over all of them. So a walk goes on from where it was. It begins again when it
comes to the end, and now and then in between: rows that were committed late, or were held by somebody,
lie behind it.
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


@dataclass(slots=True)
class Walk:
    """`position` is the `pending` (as text) and key of the last row that was taken; None: at the start."""

    direction: Direction
    position: tuple[str, str] | None = None
    _begun: float = field(default=0.0)
    _cost: float = field(default=0.0)

    def begin_if_due(self) -> None:
        """Go back to the start if the last beginning is long ago."""
        if time.monotonic() - self._begun > max(_SECONDS, _TIMES_ITS_COST * self._cost):
            self.position = None

    def go_on(self, seconds: float) -> None:
        """Do not go back for so long: what lies behind is held by somebody."""
        self._begun = time.monotonic() + seconds

    def begun(self, seconds: float) -> None:
        """Remember that the walk was begun, which took so many seconds."""
        self._begun, self._cost = time.monotonic(), seconds
