"""What a fork cannot take from its parent: a lock that is held there is given back by nobody here.

Forks are known by the process's id: servers like uWSGI fork in C, and Python's own hooks do not run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PerProcess"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One of a kind in each process, made when it is first asked for there."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def __call__(self) -> T:
        # Threads that come at the same time get the same one.
        return self._made.setdefault(os.getpid(), self._make())
