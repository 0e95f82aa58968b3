"""The tensors of a checkpoint, read one at a time from the mapped `model.safetensors`.

Names are given as the bare model has them (`embeddings.word_embeddings.weight`); checkpoints of the
same model carry the prefix `bert.`, `new.` or none.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from gte_pg.errors import ModelError, ModelNotFound

__all__ = ["Weights", "weights_file"]

FILE_NAME = "model.safetensors"
WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
PREFIXES = ("", "bert.", "new.")
FLOATS = ("F32", "F16", "BF16")


class Weights:
    """An open checkpoint. Opening checks the header against the file's size; no tensor is read."""

    def __init__(self, directory: Path) -> None:
        self.path = weights_file(directory)
        try:
            self._file: Any = _open(self.path)
            self._names = frozenset(self._file.keys())
        except (SafetensorError, OSError) as error:
            raise self._broken(error) from error
        self._prefix = self._find_prefix()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def __contains__(self, name: str) -> bool:
        return self._stored(name) in self._names

    def shape(self, name: str) -> tuple[int, ...]:
        try:
            return tuple(self._file.get_slice(self._stored(name)).get_shape())
        except SafetensorError as error:
            raise self._broken(error) from error

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[Any]]:
        """Return the tensor as stored (float32, float16 or bfloat16), a copy of this one alone.

        Raises ModelError where it is absent, of another shape or type, or holds NaN or infinity.
        """
        if name not in self:
            raise ModelError(f"{self.path}: the tensor {name!r} is missing; fetch the model again")
        if self.shape(name) != shape:
            raise ModelError(
                f"{self.path}: the tensor {name!r} has the shape {self.shape(name)}, and "
                f"config.json makes it {shape}; the two files are not of one model"
            )
        try:
            kind = self._file.get_slice(self._stored(name)).get_dtype()
            if kind not in FLOATS:
                raise ModelError(
                    f"{self.path}: {name!r} is {kind}; gte-pg reads {', '.join(FLOATS)}"
                )
            values: np.ndarray[Any, np.dtype[Any]] = self._file.get_tensor(self._stored(name))
        except SafetensorError as error:
            raise self._broken(error) from error
        if not np.isfinite(values).all():
            raise ModelError(
                f"{self.path}: the tensor {name!r} holds NaN or infinity; the file is bad"
            )
        return values

    def _find_prefix(self) -> str:
        for prefix in PREFIXES:
            if prefix + WORD_EMBEDDINGS in self._names:
                return prefix
        raise ModelError(
            f"{self.path}: no tensor {WORD_EMBEDDINGS!r}; it is not a BERT or GTE encoder"
        )

    def _stored(self, name: str) -> str:
        return name if name.startswith("classifier.") else self._prefix + name

    def _broken(self, error: Exception) -> ModelError:
        return ModelError(f"{self.path} is not a whole safetensors file: {error}; fetch it again")


def _open(path: Path) -> Any:
    # `Any`, because the stubs of safetensors leave its methods untyped.
    return safe_open(path, framework="numpy")


def weights_file(directory: Path) -> Path:
    """Return the path of a model's weights. Raises ModelNotFound where there are none."""
    path = directory / FILE_NAME
    if path.is_file():
        return path
    patterns = ("*.bin", "*.pt", "*.index.json", "onnx/*.onnx")
    others = sorted(found.name for pattern in patterns for found in directory.glob(pattern))
    seen = f" (it holds {', '.join(others)}, which gte-pg does not read)" if others else ""
    raise ModelNotFound(
        f"{directory} has no {FILE_NAME}{seen}; save the model there as one safetensors file"
    )
