"""Text to token ids, as the model's own `tokenizer.json` has it, and token ids to strings.

Truncation is done here and not by the `tokenizers` library, where it is a setting of the shared
object: texts may be encoded from several threads, each with its own limit.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.canonical_tokens import canonical_tokens
from gte_pg.encoder.long_runs import ignores_length, shortened
from gte_pg.errors import EncodingError, ModelError
from gte_pg.models.directory import ModelDirectory

if TYPE_CHECKING:
    import tokenizers

__all__ = ["TokenizedText", "Tokenizer"]

# A long text is tokenized only as far as it can matter: so many characters for each token wanted,
# and so many tokens more than wanted, since the last ones may depend on where the text was cut: of a
# word cut off within 100 characters BERT makes as many tokens, and one of the whole word.
CHARACTERS_PER_TOKEN = 32
TOKENS_BEYOND = 128
# A process with another id is a fork of this one.
PROCESS = os.getpid()


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """The ids of a text, special tokens included, and whether the text had more."""

    ids: list[int]
    truncated: bool


class Tokenizer:
    """A model's tokenizer. Safe to use from several threads."""

    def __init__(self, directory: ModelDirectory) -> None:
        self._directory = directory
        self._tokenizer = _load(directory)
        self._lower_case = directory.lower_case_text
        self._prefix, self._suffix = _frame(self._tokenizer)
        self._ignores_length = ignores_length(self._tokenizer)

    @property
    def special_count(self) -> int:
        """How many special tokens stand around each text."""
        return len(self._prefix) + len(self._suffix)

    @cached_property
    def size(self) -> int:
        """One more than the largest id; a quarter of a second for 250,000 ids."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def tokenize(
        self, texts: Sequence[str], max_length: int, *, first: int = 0
    ) -> list[TokenizedText]:
        """Tokenize each text to at most `max_length` ids, special tokens included.

        Raises EncodingError for what is not text, with its index, counted from `first`.
        """
        checked = [self._checked(text, index) for index, text in enumerate(texts, start=first)]
        room = max_length - self.special_count
        starts = [_start(text, CHARACTERS_PER_TOKEN * max_length) for text in checked]
        bodies = self._bodies(starts)
        for index, body in enumerate(bodies):
            if len(starts[index]) < len(checked[index]) and len(body) < room + TOKENS_BEYOND:
                bodies[index] = self._longer_body(checked[index], room, len(starts[index]))
        return [
            TokenizedText([*self._prefix, *body[:room], *self._suffix], len(body) > room)
            for body in bodies
        ]

    def decoded(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special_tokens=False)

    @cached_property
    def canonical(self) -> NDArray[np.int32]:
        """int32[size]: for each id the one that stands for its string; -1 for special tokens."""
        return canonical_tokens(self._tokenizer, self._directory)

    def _checked(self, text: object, index: int) -> str:
        if not isinstance(text, str):
            raise EncodingError(f"the text is {type(text).__name__}, not a string", index=index)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise EncodingError(
                f"the text has a lone surrogate {text[error.start]!a} at position {error.start}, "
                "which is no character; decode it again from its bytes",
                index=index,
            ) from error
        return text.lower() if self._lower_case else text

    def _bodies(self, texts: Sequence[str]) -> list[list[int]]:
        if os.getpid() != PROCESS and "TOKENIZERS_PARALLELISM" in os.environ:
            # Its threads are the parent's, and it is told not to see to that itself.
            os.environ["TOKENIZERS_PARALLELISM"] = "false"
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _longer_body(self, text: str, room: int, length: int) -> list[int]:
        """Tokenize twice as far, again and again, until there are tokens enough or no more text."""
        if self._ignores_length:
            text = shortened(text)
        while True:
            length *= 2
            start = _start(text, length)
            (body,) = self._bodies([start])
            if len(body) >= room + TOKENS_BEYOND or len(start) == len(text):
                return body


def _start(text: str, length: int) -> str:
    """Cut a text at the last white space before `length`, if there is any: words stay whole."""
    if len(text) <= length:
        return text
    cut = max(text.rfind(" ", 0, length), text.rfind("\n", 0, length))
    return text[: cut if cut > length // 2 else length]


def _load(directory: ModelDirectory) -> tokenizers.Tokenizer:
    # Imported here: naming a model needs no tokenizer.
    import tokenizers  # noqa: PLC0415

    path = directory.path / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{directory.path} has no tokenizer.json; save the model's fast tokenizer")
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{path} cannot be read: {error}; fetch the model again") from error
    # Published files have the limits of someone's export baked in.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _set_lower_case(tokenizer, directory.lower_case_words)
    return tokenizer


def _set_lower_case(tokenizer: tokenizers.Tokenizer, lower_case: bool | None) -> None:
    """Where `tokenizer_config.json` speaks of lower-casing, it outranks `tokenizer.json`."""
    normalizer: Any = tokenizer.normalizer
    if lower_case is not None and type(normalizer).__name__ == "BertNormalizer":
        normalizer.lowercase = lower_case
        tokenizer.normalizer = normalizer


def _frame(tokenizer: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens before and after every text, seen by framing a text of one token."""
    framed = tokenizer.encode("a")
    inside = [place for place, special in enumerate(framed.special_tokens_mask) if not special]
    if not inside:
        return framed.ids, []
    return framed.ids[: inside[0]], framed.ids[inside[-1] + 1 :]
