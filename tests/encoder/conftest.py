"""Golden models, and copies of them to break."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gte_pg.encoder import Encoder, load_encoder

DATA = Path(__file__).parents[1] / "data"
USERS_CACHE = os.environ.get("GTE_PG_CACHE")
MODELS = ("new_ntk", "new_plain", "new_fp16", "bert_mean", "bert_cls")
Tensors = dict[str, np.ndarray[Any, np.dtype[Any]]]
Copy = Callable[[str], Path]
EditJson = Callable[[Path, dict[str, object]], None]
EditTensors = Callable[[Path, Callable[[Tensors], Tensors]], None]


@dataclass(frozen=True)
class Golden:
    """One golden model's directory and what the reference code answers for it."""

    path: Path
    answers: dict[str, Any]
    arrays: dict[str, Any]

    def texts(self, batch: str) -> list[str]:
        named = {"single": ["cat"], "empty": [""], "long": self.answers["long_texts"]}
        texts: list[str] = named.get(batch, self.answers["texts"])
        return texts

    def max_length(self, batch: str) -> int:
        return int(self.answers["batches"][batch]["max_length"])


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def users_cache() -> str | None:
    """The value of GTE_PG_CACHE outside the tests, for what is too large to fetch every time."""
    return USERS_CACHE


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GTE_PG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(params=MODELS, scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    path = DATA / "golden" / request.param
    with np.load(path / "golden.npz") as arrays:
        return Golden(path, json.loads((path / "golden.json").read_text()), dict(arrays))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(str(DATA / "golden" / "new_ntk"))


@pytest.fixture
def copy_of(tmp_path: Path) -> Copy:
    """Copy a golden model, by name, to where a test may change it."""

    def copy(name: str) -> Path:
        return shutil.copytree(DATA / "golden" / name, tmp_path / name)

    return copy


@pytest.fixture
def edit_json() -> EditJson:
    def edit(path: Path, changes: dict[str, object]) -> None:
        fields = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(fields | changes))

    return edit


@pytest.fixture
def edit_tensors() -> EditTensors:
    def edit(directory: Path, change: Callable[[Tensors], Tensors]) -> None:
        path = directory / "model.safetensors"
        changed = change(load_file(path))
        save_file({name: np.ascontiguousarray(array) for name, array in changed.items()}, path)

    return edit
