"""A forked process has none of its parent's threads: what is made of threads is renewed in it."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["renew_in_forks"]


class Threaded(Protocol):
    def renew_in_fork(self) -> None: ...


_alive: WeakSet[Threaded] = WeakSet()


def renew_in_forks(threaded: Threaded) -> None:
    """Call `renew_in_fork` in each process that is forked from this one, before anything else there."""
    _alive.add(threaded)


def _renew_all() -> None:
    for threaded in list(_alive):
        threaded.renew_in_fork()


os.register_at_fork(after_in_child=_renew_all)
