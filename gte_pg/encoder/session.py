"""Running the graph that gte-pg built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import TOKEN_BUDGET, Batch
from gte_pg.encoder.open_graph import PROVIDERS, OpenGraph, runtime
from gte_pg.models.catalogue import Precision

__all__ = ["Session"]


class Session:
    """A graph that gte-pg built, ready to run."""

    budget = TOKEN_BUDGET

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision,
        threads: int = 1,
        providers: Sequence[str] = PROVIDERS,
    ) -> None:
        advice = f"delete {path.parent}, and it is built again"
        self._graph = OpenGraph(
            path, precision=precision, threads=threads, providers=providers, advice=advice
        )
        self._giving_back = runtime().RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, batch: Batch, *, alone: bool = False) -> NDArray[np.float32]:
        """Return the graph's output: the last hidden state, float32[tokens, hidden], or float32[texts,
        hidden] from a graph built for the texts' first tokens. Blocks.

        A batch that is `alone` gets several threads.
        """
        inputs = {"tokens": batch.tokens, "rows": batch.rows, "places": batch.places}
        # The arena keeps what the largest run needed, so that runs need not ask the system for
        # memory; after a text beyond the usual size it gives that back.
        options = self._giving_back if len(batch.tokens) > TOKEN_BUDGET else None
        hidden: NDArray[np.float32] = self._graph.run(None, inputs, options, alone=alone)
        return hidden
