"""Running the graph: one thread per run, any number of callers at once.

Several callers with a thread each are faster than one caller with several threads, whose every
layer waits for the slowest. A session may be shared: what a run needs belongs to that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import TOKEN_BUDGET, Batch
from gte_pg.errors import ModelError

__all__ = ["PROVIDERS", "Session", "open_graph"]

QUIET = 4
PROVIDERS = ("CPUExecutionProvider",)


class Session:
    """A graph that gte-pg built, ready to run."""

    budget = TOKEN_BUDGET

    def __init__(self, path: Path, providers: Sequence[str] = PROVIDERS) -> None:
        advice = f"delete {path.parent}, and it is built again"
        self._session = open_graph(path, providers, advice)
        self._giving_back = _runtime().RunOptions()
        self._giving_back.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Return the graph's output: the last hidden state, float32[tokens, hidden], or float32[texts,
        hidden] from a graph built for the texts' first tokens. Blocks.
        """
        inputs = {"tokens": batch.tokens, "rows": batch.rows, "places": batch.places}
        # The arena keeps what the largest run needed, so that runs need not ask the system for
        # memory; after a text beyond the usual size it gives that back.
        options = self._giving_back if len(batch.tokens) > TOKEN_BUDGET else None
        hidden: NDArray[np.float32] = self._session.run(None, inputs, options)[0]
        return hidden


def open_graph(path: Path, providers: Sequence[str], advice: str) -> Any:
    """Load a graph into onnxruntime. Raises ModelError, which ends with `advice`."""
    runtime = _runtime()
    unknown = [name for name in providers if name not in runtime.get_available_providers()]
    if unknown or not providers:
        raise ModelError(
            f"this onnxruntime has no provider {', '.join(unknown)!r}, "
            f"it has {', '.join(runtime.get_available_providers())}; install a build that has it"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = QUIET
    # Shapes differ from batch to batch: memory planned for each of them is memory kept.
    options.enable_mem_pattern = False
    try:
        return runtime.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # the runtime's errors have no common base
        raise ModelError(f"the graph {path} cannot be loaded: {error}; {advice}") from error


def _runtime() -> Any:
    # Imported here: it costs 0.1 s, and naming a model does not need it.
    import onnxruntime  # noqa: PLC0415

    return onnxruntime
