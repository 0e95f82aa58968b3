"""Where what is built from a model's files is kept: in the cache, by the content of the files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from gte_pg.models.cache import cache_directory
from gte_pg.models.content import content_digest

__all__ = ["built_entries", "built_entry"]

DIGEST_LENGTH = 32
Kind = Literal["graphs", "tokens"]
KINDS: tuple[Kind, ...] = ("graphs", "tokens")


def built_entry(kind: Kind, directory: Path, variant: str) -> str:
    """Return the cache's entry for what a directory's files give. `variant` says all else that
    decides it: settings, and the version of what builds it.
    """
    return f"{kind}/{content_digest(directory)[:DIGEST_LENGTH]}-{variant}"


def built_entries(directory: Path) -> list[Path]:
    """Return the places of everything that was built from a directory's files."""
    prefix = content_digest(directory)[:DIGEST_LENGTH]
    return [place for kind in KINDS for place in (cache_directory() / kind).glob(f"{prefix}-*")]
