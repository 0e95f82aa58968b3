"""The token-weight head: one number per token, how much that token matters in its text.

    weight(token) = relu(⟨hidden(token), weight⟩ + bias)

gte-multilingual-base carries its head as `classifier.*` in the checkpoint. Other models may get one
in a file: `token_head.json` in the model's directory, or one that gte-pg ships in `token_heads/`
for weights it knows by their sha256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gte_pg.errors import ModelError
from gte_pg.models.architecture import Architecture, NewArchitecture
from gte_pg.models.file_hash import remembered_sha256
from gte_pg.models.json_file import JsonObject, read_object
from gte_pg.models.ready_made import is_ready_made
from gte_pg.models.weights import Weights, weights_file

__all__ = [
    "FILE_NAME",
    "IMPACT_STEP",
    "TokenHead",
    "read_token_head",
    "shipped_head",
    "shipped_heads",
]

FILE_NAME = "token_head.json"

# Fits the weights of gte-multilingual-base, most of which are below 4.
IMPACT_STEP = 0.25


@dataclass(frozen=True, slots=True)
class TokenHead:
    """`weight` is float32[hidden]. `impact_step` is the width of an impact bucket of these weights in
    an index: it follows from how large they are.
    """

    weight: NDArray[np.float32]
    bias: float
    impact_step: float = IMPACT_STEP

    @property
    def digest(self) -> str:
        """The sha256, in hex, of all the head's numbers, little-endian: its identity."""
        numbers = np.array([self.bias, self.impact_step], "<f8")
        return hashlib.sha256(self.weight.astype("<f4").tobytes() + numbers.tobytes()).hexdigest()


@cache
def shipped_heads() -> dict[str, TokenHead]:
    """Return the heads inside the package, by the sha256 of the weights that they belong to."""
    folder = Path(str(resources.files("gte_pg.models") / "token_heads"))
    files = [read_object(path) for path in sorted(folder.glob("*.json"))]
    return {file.text("weights_sha256", ""): _from_json(file) for file in files}


def shipped_head(directory: Path) -> TokenHead | None:
    """Return the package's head for a directory's weights, unless the directory has its own."""
    if (directory / FILE_NAME).is_file() or is_ready_made(directory):
        return None
    return shipped_heads().get(remembered_sha256(weights_file(directory)))


def read_token_head(directory: Path, architecture: Architecture) -> TokenHead | None:
    """Return a model's head, None where it has none. Raises ModelError where it does not fit."""
    file = directory / FILE_NAME
    if file.is_file():
        head: TokenHead | None = _from_json(read_object(file))
    else:
        head = shipped_head(directory) or _from_checkpoint(directory, architecture)
    if head is not None and head.weight.shape != (architecture.hidden,):
        raise ModelError(
            f"the token head of {directory} has {head.weight.size} weights, "
            f"and the model is {architecture.hidden} wide; it belongs to another model"
        )
    return head


def _from_json(file: JsonObject) -> TokenHead:
    numbers = file.fields.get("weight")
    if not isinstance(numbers, list) or not all(type(n) in (int, float) for n in numbers):
        raise ModelError(f"{file.path}: 'weight' should be a list of numbers")
    weight = np.array(numbers, dtype=np.float32)
    if not np.isfinite(weight).all() or not np.isfinite(file.number("bias", 0.0)):
        raise ModelError(f"{file.path}: the head holds NaN or infinity")
    step = file.number("impact_step", IMPACT_STEP)
    if not 0 < step < np.inf:
        raise file.wrong("impact_step", "above 0")
    return TokenHead(weight, file.number("bias", 0.0), step)


def _from_checkpoint(directory: Path, architecture: Architecture) -> TokenHead | None:
    if not isinstance(architecture, NewArchitecture) or not architecture.token_classifier:
        return None
    if is_ready_made(directory):
        return None
    one_label = (1, architecture.hidden)
    with Weights(directory) as weights:
        name = "classifier.weight"
        if name not in weights or weights.shape(name) != one_label:
            return None
        weight = weights.tensor(name, one_label)
        bias = weights.tensor("classifier.bias", (1,))
    return TokenHead(weight[0].astype(np.float32), float(bias[0]))
