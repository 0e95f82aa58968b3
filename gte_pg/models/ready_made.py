"""A directory whose weights are an ONNX graph that someone else exported, as transformers.js has it.

    onnx/model.onnx             float32
    onnx/model_quantized.onnx   int8

Where `model.safetensors` is there too, it is what gte-pg reads, and these are other exports of it.
"""

from __future__ import annotations

from pathlib import Path

from gte_pg.errors import ModelNotFound
from gte_pg.models.catalogue import Precision

__all__ = ["GRAPHS", "is_ready_made", "ready_made_graph"]

WEIGHTS = "model.safetensors"
GRAPHS: dict[Precision, str] = {
    "float32": "onnx/model.onnx",
    "int8": "onnx/model_quantized.onnx",
}


def is_ready_made(directory: Path) -> bool:
    return not (directory / WEIGHTS).is_file() and any(
        (directory / name).is_file() for name in GRAPHS.values()
    )


def ready_made_graph(directory: Path, precision: Precision) -> Path:
    """Return the graph of a ready-made directory. Raises ModelNotFound where it lacks this one."""
    path = directory / GRAPHS[precision]
    if not path.is_file():
        (other,) = (kind for kind in GRAPHS if kind != precision)
        raise ModelNotFound(
            f"{directory} has no {GRAPHS[precision]}, only {GRAPHS[other]}; "
            f"load it with the precision {other!r}, or add that file"
        )
    return path
