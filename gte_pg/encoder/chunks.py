"""Cutting any number of texts into chunks that are sorted, run and forgotten together.

A chunk is large enough that its texts sort into batches of like length, and bounded in texts and in
characters, so that memory does not grow with the input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["chunks"]

CHUNK_TEXTS = 1024
CHUNK_CHARACTERS = 4_000_000


def chunks(texts: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the place of each chunk's first text, and its texts."""
    chunk: list[str] = []
    start = size = 0
    for text in texts:
        # What is no text has no length; the tokenizer refuses it by its place.
        length = len(text) if isinstance(text, str) else 0
        if chunk and (len(chunk) == CHUNK_TEXTS or size + length > CHUNK_CHARACTERS):
            yield start, chunk
            start, size, chunk = start + len(chunk), 0, []
        chunk.append(text)
        size += length
    if chunk:
        yield start, chunk
