"""Encode texts of rows, and find out which of them cannot be: their neighbours are encoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from gte_pg.database import Registered
from gte_pg.encoder import Encoded, Encoder
from gte_pg.errors import EncodingError, GtePgError, ModelError
from gte_pg.sync.read import Text
from gte_pg.sync.refusals import ENDLESS_ATTEMPTS, MOST_ATTEMPTS, Refusal

# Between two pieces of a batch its lease is renewed and other workers of the team have their turn. So
# many characters are 10,000 to 50,000 tokens: a minute or two of a slow machine with a large model.
_PIECE_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Success:
    """Texts and their vectors."""

    texts: list[Text]
    encoded: Encoded


def pieces(texts: list[Text]) -> Iterator[list[Text]]:
    """Yield the texts in pieces that are encoded well within a lease, whatever the model."""
    piece: list[Text] = []
    characters = 0
    for text in texts:
        if piece and characters + len(text.text) > _PIECE_CHARACTERS:
            yield piece
            piece, characters = [], 0
        piece.append(text)
        characters += len(text.text)
    if piece:
        yield piece


def encode_apart(
    encoder: Encoder, registered: Registered, texts: list[Text]
) -> tuple[list[Success], list[Refusal]]:
    """Encode the texts; if that fails, halve them until the ones that fail stand alone.

    Where no other text can be encoded either, the error is raised, and no row is blamed.
    """
    if not texts:
        return [], []
    try:
        encoded = _vectors(encoder, registered, [text.text for text in texts])
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a text does to the encoder is recorded
        if len(texts) == 1:
            _check_is_up(encoder, registered)
            message = str(error) if isinstance(error, GtePgError) else repr(error)
            most = _most_attempts(error)
            return [], [Refusal(texts[0].key, texts[0].mark, message, most_attempts=most)]
        middle = len(texts) // 2
        first, first_failed = encode_apart(encoder, registered, texts[:middle])
        second, second_failed = encode_apart(encoder, registered, texts[middle:])
        return first + second, first_failed + second_failed
    return [Success(texts, encoded)], []


def _most_attempts(error: Exception) -> int:
    if isinstance(error, EncodingError):
        return 1  # the text is at fault, and stays what it is
    return ENDLESS_ATTEMPTS if isinstance(error, MemoryError) else MOST_ATTEMPTS


def _check_is_up(encoder: Encoder, registered: Registered) -> None:
    """Raise ModelError or MemoryError if even the shortest text cannot be encoded."""
    try:
        _vectors(encoder, registered, ["a"])
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        raise ModelError(
            f"{registered.declaration.model} encodes no text at all ({error!r}); the rows stay pending"
        ) from error


def _vectors(encoder: Encoder, registered: Registered, texts: list[str]) -> Encoded:
    encoded = encoder.encode(texts, dimensions=registered.declaration.dimensions)
    expected = (len(texts), registered.declaration.dimensions)
    if encoded.dense.shape != expected:
        raise EncodingError(
            f"the encoder gave vectors of shape {encoded.dense.shape} where {expected} was expected"
        )
    if not np.isfinite(encoded.dense).all():
        raise EncodingError("the encoder gave a vector that is not finite")
    return encoded
