"""Running the graph: one thread per run, any number of callers at once.

Several callers with a thread each are faster than one caller with several threads, whose every
layer waits for the slowest. A session may be shared: what a run needs belongs to that run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import TOKEN_BUDGET, Batch
from gte_pg.errors import ModelError
from gte_pg.graph import OUTPUT

__all__ = ["Session"]

QUIET = 4


class Session:
    """A graph ready to run."""

    def __init__(self, path: Path) -> None:
        # Imported here: it costs 0.1 s, and naming a model does not need it.
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        # Shapes differ from batch to batch: memory planned for each of them is memory kept.
        options.enable_mem_pattern = False
        self._giving_back = onnxruntime.RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's errors have no common base
            raise ModelError(
                f"the graph {path} cannot be loaded: {error}; delete {path.parent}, "
                "and it is built again"
            ) from error

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Return the last hidden state of each token, float32[tokens, hidden]. Blocks."""
        inputs = {"tokens": batch.tokens, "rows": batch.rows, "places": batch.places}
        # The arena keeps what the largest run needed, so that runs need not ask the system for
        # memory; after a text beyond the usual size it gives that back.
        options = self._giving_back if len(batch.tokens) > TOKEN_BUDGET else None
        hidden: NDArray[np.float32] = self._session.run([OUTPUT], inputs, options)[0]
        return hidden
