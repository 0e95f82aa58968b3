"""Running a graph that someone else exported: padded texts in, `[texts, longest, hidden]` out.

Which inputs it takes and which output is the hidden state is read from the graph. A quantised one
gets each text alone: its scales are of the whole batch, so beside others a text's vector would
depend on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gte_pg.encoder.batching import TOKEN_BUDGET, Batch
from gte_pg.encoder.open_graph import OpenGraph
from gte_pg.errors import ModelError
from gte_pg.models.catalogue import Precision

__all__ = ["ReadyMadeSession"]

INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
HIDDEN = "last_hidden_state"
RANK = 3
ALONE = 0


class ReadyMadeSession:
    """A ready-made graph, ready to run. Raises ModelError where it is none of an encoder."""

    def __init__(
        self,
        path: Path,
        *,
        hidden: int,
        precision: Precision,
        threads: int,
        providers: Sequence[str],
    ) -> None:
        self.budget = ALONE if precision == "int8" else TOKEN_BUDGET
        self._path = path
        self._graph = OpenGraph(
            path,
            precision=precision,
            threads=threads,
            providers=providers,
            advice="fetch it again",
        )
        session = self._graph.session(alone=False)
        self._inputs = [found.name for found in session.get_inputs()]
        unknown = sorted(set(self._inputs) - set(INPUTS))
        if unknown or "input_ids" not in self._inputs:
            raise ModelError(
                f"{path} takes the inputs {', '.join(self._inputs)}; gte-pg knows "
                f"{', '.join(INPUTS)}, and the first must be there: it is no text encoder"
            )
        self._output = self._find_output(session.get_outputs(), hidden)

    def run(self, batch: Batch, *, alone: bool = False) -> NDArray[np.float32]:
        """Return the last hidden state of each token, float32[tokens, hidden]. Blocks.

        A batch that is `alone` gets several threads.
        """
        present = batch.rows >= 0
        filled = {
            # What stands in the padding is masked.
            "input_ids": batch.tokens[np.maximum(batch.rows, 0)],
            "attention_mask": present.astype(np.int64),
            "token_type_ids": np.zeros(present.shape, np.int64),
            "position_ids": np.broadcast_to(np.arange(present.shape[1]), present.shape).copy(),
        }
        inputs = {name: filled[name] for name in self._inputs}
        try:
            hidden: NDArray[np.float32] = self._graph.run([self._output], inputs, alone=alone)
        except Exception as error:  # the runtime's errors have no common base
            raise ModelError(
                f"{self._path} fails on texts of the shape {present.shape}: {error}; "
                "export it with a free number of texts and of tokens"
            ) from error
        return hidden.reshape(-1, hidden.shape[-1])[batch.places]

    def _find_output(self, found_outputs: Sequence[Any], hidden: int) -> str:
        outputs = {found.name: found.shape for found in found_outputs}
        for name, shape in sorted(outputs.items(), key=lambda pair: pair[0] != HIDDEN):
            # A width that is not fixed is a name, not a number.
            if len(shape) == RANK and (shape[-1] == hidden or not isinstance(shape[-1], int)):
                return str(name)
        raise ModelError(
            f"{self._path} gives {outputs}, and no hidden state [texts, tokens, {hidden}]; "
            f"export it with the output {HIDDEN!r}"
        )
