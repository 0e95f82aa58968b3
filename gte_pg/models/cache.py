"""The cache directory on this machine: what was fetched or built once, and can be again.

An entry is a directory that is complete or absent. It is filled beside its place and renamed into
it, so two processes may fill the same entry at once: the first rename wins, the other's work is
thrown away, and no reader ever sees half an entry. A note is a small file of the same kind, except
that the last one wins.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from platformdirs import user_cache_dir

from gte_pg.errors import ModelError

__all__ = ["cache_directory", "filled", "noted"]


def cache_directory() -> Path:
    """`GTE_PG_CACHE` where it is set, else the user's cache directory of this system."""
    chosen = os.environ.get("GTE_PG_CACHE")
    return Path(chosen) if chosen else Path(user_cache_dir("gte-pg", appauthor=False))


def filled(entry: str, fill: Callable[[Path], None]) -> Path:
    """Return the cache's directory `entry`; where it is absent, `fill(empty directory)` makes it.

    Whatever `fill` raises leaves the cache as it was. Raises ModelError where the cache cannot be
    written.
    """
    place = cache_directory() / entry
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    except OSError as error:
        raise ModelError(
            f"the cache {cache_directory()} cannot be written: {error.strerror}; "
            "set GTE_PG_CACHE to a directory that can"
        ) from error
    try:
        fill(beside)
        beside.chmod(0o755)
        _move_into_place(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return place


def noted(note: str, text: str) -> None:
    """Write the cache's small file `note`; a cache that cannot be written forgets, and no more."""
    place = cache_directory() / note
    beside = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
            beside = Path(file.name)
            file.write(text)
        beside.replace(place)
    except OSError:
        if beside is not None:
            beside.unlink(missing_ok=True)


def _move_into_place(beside: Path, place: Path) -> None:
    try:
        beside.rename(place)
    except OSError:
        if not place.is_dir():
            raise
