"""The ways of encoding that are compared, each as a function that loads and one that encodes.

A way runs in a process of its own (`measure.py`), in the environment that has what it imports.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Encode = Callable[[Sequence[str]], Any]


@dataclass(frozen=True)
class Way:
    """`threads` 0 and `batch` 0 leave the choice to the library: how people call it."""

    library: str
    kind: str
    threads: int = 0
    batch: int = 0

    @property
    def title(self) -> str:
        tuned = [f"{self.threads} thread"] if self.threads else []
        tuned += [f"batch {self.batch}"] if self.batch else []
        return f"{self.library} {self.kind}, {', '.join(tuned) or 'default'}"


OURS = "gte-pg"
THEIRS = "sentence-transformers"
KINDS = ("torch float32", "torch bfloat16", "onnx", "onnx O3", "onnx avx512_vnni")
FILES = {
    "onnx": "onnx/model.onnx",
    "onnx O3": "onnx/model_O3.onnx",
    "onnx avx512_vnni": "onnx/model_qint8_avx512_vnni.onnx",
}
FLOAT32 = ("float32", "torch float32", "onnx", "onnx O3")
TUNED_BATCHES = (1, 4, 8, 32)
WAYS = (
    Way(OURS, "float32"),
    Way(OURS, "int8"),
    Way(OURS, "float32", threads=1),
    *(Way(THEIRS, kind) for kind in KINDS),
    *(Way(THEIRS, kind, threads=1, batch=batch) for kind in KINDS for batch in TUNED_BATCHES),
)


def load(way: Way, model: Path) -> Encode:
    return _ours(way, model) if way.library == OURS else _theirs(way, model)


def _ours(way: Way, model: Path) -> Encode:
    encoders = importlib.import_module("gte_pg.encoder")
    encoder = encoders.Encoder.load(str(model), precision=way.kind, threads=way.threads or None)
    return lambda texts: encoder.encode(texts).dense


def _theirs(way: Way, model: Path) -> Encode:
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch = importlib.import_module("torch")
    sentences = importlib.import_module("sentence_transformers")
    if way.threads:
        torch.set_num_threads(way.threads)
    if way.kind in FILES:
        settings: dict[str, Any] = {"file_name": FILES[way.kind]}
        if way.threads:
            runtime = importlib.import_module("onnxruntime")
            settings["session_options"] = runtime.SessionOptions()
            settings["session_options"].intra_op_num_threads = way.threads
        encoder = sentences.SentenceTransformer(
            str(model), backend="onnx", model_kwargs=settings, device="cpu"
        )
    else:
        settings = {"torch_dtype": getattr(torch, way.kind.split()[1])}
        encoder = sentences.SentenceTransformer(str(model), model_kwargs=settings, device="cpu")
    batch = {"batch_size": way.batch} if way.batch else {}
    return lambda texts: encoder.encode(list(texts), normalize_embeddings=True, **batch)


def export(model: Path) -> None:
    """Write the ONNX files that sentence-transformers makes of a model beside it."""
    sentences = importlib.import_module("sentence_transformers")
    exported = sentences.SentenceTransformer(
        str(model), backend="onnx", model_kwargs={"export": True}, device="cpu"
    )
    exported.save_pretrained(str(model))
    backend = importlib.import_module("sentence_transformers.backend")
    backend.export_optimized_onnx_model(exported, "O3", str(model))
    backend.export_dynamic_quantized_onnx_model(exported, "avx512_vnni", str(model))
