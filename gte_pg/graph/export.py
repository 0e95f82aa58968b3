"""A built graph with its tokenizer in a directory of its own, for programs without gte-pg."""

from __future__ import annotations

import shutil
from pathlib import Path

from gte_pg.errors import ModelError
from gte_pg.models.catalogue import Precision
from gte_pg.models.content import DECIDING_FILES
from gte_pg.models.directory import ModelDirectory
from gte_pg.models.ready_made import is_ready_made

__all__ = ["export"]

README = """# {name}, {precision}, as an ONNX graph

Written by `gte-pg models export`. `graph.onnx` and its weights `graph.data` run in onnxruntime; texts
lie one after the other, without padding:

    tokens  int64[tokens]          token ids of all texts, special tokens included
    rows    int64[texts, longest]  which token stands where; -1 where a text is over
    places  int64[tokens]          where each token stands in `rows`, counted row by row
    hidden  float32[tokens, {hidden}]  the last hidden state

The dense vector of a text is {pooling} of its hidden states, then normalised. One text:

```python
import numpy as np, onnxruntime, tokenizers

tokenizer = tokenizers.Tokenizer.from_file("tokenizer.json")
tokenizer.no_truncation()
tokenizer.no_padding()
ids = np.array(tokenizer.encode("a text").ids[:{max_length}])
places = np.arange(len(ids))
session = onnxruntime.InferenceSession("graph.onnx")
(hidden,) = session.run(None, {{"tokens": ids, "rows": places[None], "places": places}})
vector = {expression}
vector /= np.linalg.norm(vector)
```
"""


def export(directory: ModelDirectory, destination: Path, precision: Precision, name: str) -> None:
    """Write graph, tokenizer, settings and a README to `destination`, which must be empty or absent.

    Blocks for seconds. Raises ModelError.
    """
    # Imported here: it needs onnx, which what is built already does without.
    from gte_pg.graph.build import build  # noqa: PLC0415

    if is_ready_made(directory.path):
        raise ModelError(f"{directory.path} is an ONNX model already; copy it as it is")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise ModelError(f"{destination} is not empty; give a new directory")
    destination.mkdir(parents=True, exist_ok=True)
    build(directory, destination / "graph.onnx", precision, firsts_only=False)
    for file in DECIDING_FILES:
        if file.endswith(".json") and (directory.path / file).is_file():
            (destination / file).parent.mkdir(exist_ok=True)
            shutil.copyfile(directory.path / file, destination / file)
    mean = directory.pooling == "mean"
    text = README.format(
        name=name,
        precision=precision,
        hidden=directory.architecture.hidden,
        max_length=directory.max_length,
        pooling="the mean" if mean else "the first",
        expression="hidden.mean(axis=0)" if mean else "hidden[0]",
    )
    (destination / "README.md").write_text(text, encoding="utf-8")
