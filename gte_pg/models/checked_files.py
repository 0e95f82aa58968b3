"""Whether a model's files are the ones that were published, where that is known.

The files of all-MiniLM-L6-v2 are known to gte-pg by their sha256. A file from the hub lies in its
cache under the name of what the hub says of its content: the sha256 of a large file, the git hash of
a small one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gte_pg.models.content import DECIDING_FILES
from gte_pg.models.file_hash import file_sha256, remembered_sha256
from gte_pg.models.offline import SHA256
from gte_pg.models.ready_made import GRAPHS

__all__ = ["CheckedFile", "checked_files"]

GIT_LENGTH, SHA256_LENGTH = 40, 64
State = Literal["matches", "differs", "not known"]


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """One file, its size in bytes, and whether its content is as published."""

    name: str
    size: int
    state: State


def checked_files(directory: Path, *, offline: bool, remembered: bool = False) -> list[CheckedFile]:
    """Check the files of a directory that decide vectors; reads them all, unless hashes remembered
    of unchanged files will do. `offline` says that they should be those of the offline model's wheel.
    """
    sha256 = remembered_sha256 if remembered else file_sha256
    found = []
    for name in (*DECIDING_FILES, *GRAPHS.values()):
        path = directory / name
        if not path.is_file():
            continue
        expected = SHA256.get(name, "") if offline else _name_in_hub_cache(path)
        state: State = "not known"
        if expected:
            content = sha256(path) if len(expected) == SHA256_LENGTH else _git_hash(path)
            state = "matches" if content == expected else "differs"
        found.append(CheckedFile(name, path.stat().st_size, state))
    return found


def _name_in_hub_cache(path: Path) -> str:
    blob = path.readlink() if path.is_symlink() else path
    is_hash = blob.parent.name == "blobs" and len(blob.name) in (GIT_LENGTH, SHA256_LENGTH)
    return blob.name if is_hash else ""


def _git_hash(path: Path) -> str:
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()
