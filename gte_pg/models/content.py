"""What a model directory contains, as one digest: the same files give the same vectors.

Only files that decide a vector count; a README or another export of the weights does not.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from gte_pg.models.file_hash import remembered_sha256
from gte_pg.models.ready_made import GRAPHS, is_ready_made

__all__ = ["DECIDING_FILES", "content_digest"]

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

    Reads the weights the first time; then their hash is remembered until the file changes.
    """
    digest = hashlib.sha256()
    exports = tuple(GRAPHS.values()) if is_ready_made(directory) else ()
    for name in (*DECIDING_FILES, *exports):
        if (directory / name).is_file():
            digest.update(f"{name}\0{remembered_sha256(directory / name)}\n".encode())
    return digest.hexdigest()
