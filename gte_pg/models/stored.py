"""Which known models are on this machine, and removing them from it."""

from __future__ import annotations

import shutil
from pathlib import Path

from gte_pg.models.built import built_entries
from gte_pg.models.cache import cache_directory
from gte_pg.models.catalogue import KnownModel
from gte_pg.models.hub import delete_from_hub_cache, fetched_directory
from gte_pg.models.offline import OFFLINE_MODEL, offline_entry

__all__ = ["remove", "stored_directory"]


def stored_directory(known: KnownModel) -> Path | None:
    """Return the directory with the model's files, None where they are not here. Fetches nothing."""
    if known.name != OFFLINE_MODEL:
        return fetched_directory(known)
    place = cache_directory() / offline_entry()
    return place if place.is_dir() else None


def remove(known: KnownModel) -> int:
    """Delete the model's files and what was built from them; return the bytes that are free."""
    place = stored_directory(known)
    if place is None:
        return 0
    freed = sum(_delete(built) for built in built_entries(place))
    if known.name == OFFLINE_MODEL:
        return freed + _delete(place)
    return freed + delete_from_hub_cache(known)


def _delete(directory: Path) -> int:
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    shutil.rmtree(directory)
    return size
