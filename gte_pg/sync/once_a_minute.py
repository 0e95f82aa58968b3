"""Say the same thing again, but not all the time: what many threads look for is told once a minute."""

from __future__ import annotations

import math
import threading
import time

_SECONDS = 60


class OnceAMinute:
    """Tells of each thing whether it is time to say it, once a minute at most, whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[object, float] = {}

    def is_due(self, what: object) -> bool:
        with self._lock:
            now = time.monotonic()
            if now - self._last.get(what, -math.inf) < _SECONDS:
                return False
            self._last[what] = now
            return True
