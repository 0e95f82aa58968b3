"""The encoder that an embedding's vectors come from."""

from __future__ import annotations

from gte_pg.declaration.declaration import Declaration
from gte_pg.encoder import Encoder, load_encoder


def declared_encoder(declaration: Declaration) -> Encoder:
    """Return this process's encoder for a declaration; blocks while it is loaded the first time.

    Raises ModelNotFound where the model's files cannot be had, ModelError where they are not the
    ones that the embedding's vectors come from.
    """
    encoder = load_encoder(declaration.model, precision=declaration.precision)
    declaration.check_model(encoder.identity)
    return encoder
