"""The sha256 of a file, and remembering it on this machine until the file changes.

Hashing the weights of the largest model takes half a second of every start. A remembered hash counts
only while everything that the system says of the file is the same: its inode, size, and the times of
its last change, of which one cannot be set by hand. A file that changed within the last seconds is
not remembered, since it may change again within the same tick of the clock; git's index has the same
rule.
"""

from __future__ import annotations

import hashlib
import os
import time
from functools import lru_cache
from pathlib import Path

from gte_pg.errors import ModelError
from gte_pg.models.cache import cache_directory, noted

__all__ = ["file_sha256", "remembered_sha256"]

SHA256_LENGTH = 64
# Smaller files are hashed as fast as looked up.
WORTH_REMEMBERING = 1_000_000
STILL_NANOSECONDS = 2_000_000_000


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex; reads it all, a gigabyte in about 0.7 s."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


def remembered_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex; reads it only where it changed since the last time."""
    return _sha256(path, _state(path))


@lru_cache(maxsize=1024)
def _sha256(path: Path, state: tuple[int, ...]) -> str:
    _, _, size, changed, _ = state
    if size < WORTH_REMEMBERING:
        return file_sha256(path)
    note = f"hashes/{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}"
    beginning = " ".join(map(str, state)) + " "
    try:
        written = (cache_directory() / note).read_text(encoding="ascii")
    except (OSError, ValueError):
        written = ""
    if written.startswith(beginning) and len(written) == len(beginning) + SHA256_LENGTH:
        return written.removeprefix(beginning)
    started = time.time_ns()
    found = file_sha256(path)
    if started - changed > STILL_NANOSECONDS and _state(path) == state:
        noted(note, beginning + found)
    return found


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    last_change = max(status.st_mtime_ns, status.st_ctime_ns)
    return (status.st_dev, status.st_ino, status.st_size, last_change, status.st_mtime_ns)
