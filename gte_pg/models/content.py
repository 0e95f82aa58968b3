"""What a model directory contains, as one digest: the same files give the same vectors.

Only files that decide a vector count; a README or another export of the weights does not.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from gte_pg.errors import ModelError
from gte_pg.models.ready_made import GRAPHS, is_ready_made

__all__ = ["DECIDING_FILES", "content_digest", "file_sha256"]

DECIDING_FILES = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "token_head.json",
    "model.safetensors",
)


def content_digest(directory: Path) -> str:
    """Return the sha256, in hex, over the names and contents of the deciding files that are there.

    Reads the weights: about half a second per gigabyte the first time, then remembered.
    """
    digest = hashlib.sha256()
    exports = tuple(GRAPHS.values()) if is_ready_made(directory) else ()
    for name in (*DECIDING_FILES, *exports):
        if (directory / name).is_file():
            digest.update(f"{name}\0{file_sha256(directory / name)}\n".encode())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex, remembered until the file's size or time changes."""
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=1024)
def _sha256(path: Path, _size: int, _modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
