"""Names of the objects that gte-pg makes: readable, deterministic, never over Postgres' 63 bytes."""

from __future__ import annotations

import hashlib

MAX_NAME_BYTES = 63

_DIGEST_CHARACTERS = 8


def object_name(*parts: str) -> str:
    """Join the parts with `_`; a name over 63 bytes is cut and ends in a digest of the whole.

    Postgres would cut it silently, and two long names could become one.
    """
    whole = "_".join(parts)
    encoded = whole.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return whole
    digest = hashlib.sha256(encoded).hexdigest()[:_DIGEST_CHARACTERS]
    head = encoded[: MAX_NAME_BYTES - _DIGEST_CHARACTERS - 1].decode(errors="ignore")
    return f"{head}_{digest}"
