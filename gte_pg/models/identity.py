"""What a declaration needs of a model, without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gte_pg.models.catalogue import KnownModel, Precision, find, unknown
from gte_pg.models.content import content_digest
from gte_pg.models.directory import read_directory
from gte_pg.models.token_head import (
    IMPACT_STEP,
    TokenHead,
    read_token_head,
    shipped_head,
    shipped_heads,
)

__all__ = ["ModelIdentity", "identify"]

DIGEST_LENGTH = 12
HEAD_DIGEST_LENGTH = 8


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """A model as declarations and generations see it.

    `dimensions` is the full width of the dense vector and the default; `elastic` is the range to
    which it may be cut, None where the model was not trained for cutting. `sparse_dimensions` is
    the size of the vocabulary where the model gives token weights. `impact_step` is the width of
    an impact bucket of those weights in the index.
    """

    name: str
    revision: str
    dimensions: int
    elastic: tuple[int, int] | None
    max_length: int
    sparse_dimensions: int | None
    impact_step: float = IMPACT_STEP
    precision: Precision = "float32"

    @property
    def fingerprint(self) -> str:
        """`name@revision`, the same on every machine: a directory counts by its contents."""
        return f"{Path(self.name).name}@{self.revision}"

    def generation(self, dimensions: int) -> str:
        """`name@revision/precision/dimensions`: vectors of two generations are never compared."""
        return f"{self.fingerprint}/{self.precision}/{dimensions}"


def identify(name_or_directory: str, *, precision: Precision = "float32") -> ModelIdentity:
    """Return the identity of a known model, by its short name or hub id, or of a model's directory.

    A known name costs no I/O outside the package and needs none of the model's files. A directory
    is hashed, which reads its weights once. Raises ModelNotFound for anything else, ModelError for
    a directory that is not a supported model.
    """
    known = find(name_or_directory)
    if known is not None:
        return _of_known(known, precision)
    path = Path(name_or_directory).expanduser()
    if not path.is_dir():
        raise unknown(name_or_directory)
    return _of_directory(path.resolve(), precision)


def _of_known(known: KnownModel, precision: Precision) -> ModelIdentity:
    sha256 = known.weights_sha256
    head = None if sha256 is None else shipped_heads().get(sha256)
    return ModelIdentity(
        name=known.name,
        revision=_with_head(known.revision, head),
        dimensions=known.dimensions,
        elastic=known.elastic,
        max_length=known.max_length,
        sparse_dimensions=known.sparse_dimensions if sha256 is None or head else None,
        impact_step=head.impact_step if head else IMPACT_STEP,
        precision=precision,
    )


def _of_directory(path: Path, precision: Precision) -> ModelIdentity:
    directory = read_directory(path)
    architecture = directory.architecture
    head = read_token_head(path, architecture)
    digest = content_digest(path)[:DIGEST_LENGTH]
    return ModelIdentity(
        name=str(path),
        revision=_with_head(digest, shipped_head(path)),
        dimensions=architecture.hidden,
        # Files do not say for which widths a model was trained: every cut is allowed.
        elastic=(1, architecture.hidden),
        max_length=directory.max_length,
        sparse_dimensions=architecture.vocabulary if head else None,
        impact_step=head.impact_step if head else IMPACT_STEP,
        precision=precision,
    )


def _with_head(revision: str, head: TokenHead | None) -> str:
    # A head inside the package changes the token weights, and no file of the model shows it.
    return revision if head is None else f"{revision}-h{head.digest[:HEAD_DIGEST_LENGTH]}"
