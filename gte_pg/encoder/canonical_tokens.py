"""One id for each string: which token ids share a key among token weights.

Token weights are keyed by decoded string, and two ids may decode to the same one (`▁the` and `the`).
Each stands for the smallest id of its string. Decoding all 250,000 ids of the largest vocabulary
takes half a second of processor time, so the answer is kept in the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gte_pg.errors import ModelError
from gte_pg.models.built import built_entry
from gte_pg.models.cache import filled
from gte_pg.models.directory import ModelDirectory

if TYPE_CHECKING:
    import tokenizers

__all__ = ["canonical_tokens"]

# The roles that carry no meaning of their own. Where a model has no eos token, its sep ends a text.
UNWEIGHTED = ("cls_token", "eos_token", "sep_token", "pad_token", "unk_token")
FILE = "canonical.npy"
# Raise it whenever the same files would give other ids.
VERSION = 1


def canonical_tokens(
    tokenizer: tokenizers.Tokenizer, directory: ModelDirectory
) -> NDArray[np.int32]:
    """Return int32[ids]: for each id the smallest that decodes to the same string; -1 for the special
    tokens, which have no weight.

    Raises ModelError where the cache cannot be written, or what is in it cannot be read.
    """
    # Imported here: naming a model needs no tokenizer.
    import tokenizers as library  # noqa: PLC0415

    def fill(folder: Path) -> None:
        np.save(folder / FILE, _computed(tokenizer, directory))

    entry = built_entry("tokens", directory.path, f"{VERSION}-{library.__version__}")
    place = filled(entry, fill)
    try:
        canonical: NDArray[np.int32] = np.load(place / FILE)
    except (OSError, ValueError, EOFError) as error:
        raise ModelError(
            f"{place / FILE} cannot be read: {error}; delete {place}, and it is made again"
        ) from error
    return canonical


def _computed(tokenizer: tokenizers.Tokenizer, directory: ModelDirectory) -> NDArray[np.int32]:
    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    strings = tokenizer.decode_batch([[token] for token in range(size)], skip_special_tokens=False)
    smallest: dict[str, int] = {}
    canonical = np.array(
        [smallest.setdefault(string, token) for token, string in enumerate(strings)], np.int32
    )
    for role in UNWEIGHTED:
        token = tokenizer.token_to_id(directory.special_tokens.get(role, ""))
        if token is not None:
            canonical[token] = -1
    return canonical
