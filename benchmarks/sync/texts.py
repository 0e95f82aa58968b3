"""Real texts: a field of a JSON Lines file, perhaps .xz, or this Python's own docstrings."""

from __future__ import annotations

import json
import lzma
import random
from pathlib import Path

from gte_pg.demo.standard_library import standard_library


def real_texts(path: Path | None, field: str, count: int) -> list[str]:
    """Return `count` texts, always the same ones."""
    if path is None:
        texts = [docstring.doc for docstring in standard_library()]
    else:
        with lzma.open(path, "rt") if path.suffix == ".xz" else path.open() as lines:
            texts = [json.loads(line)[field] for line in lines]
    return random.Random(1).sample(texts, min(count, len(texts)))
