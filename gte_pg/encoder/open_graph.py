"""A graph in onnxruntime: a session for batches beside each other, and one for a batch that is alone.

Several callers with a thread each are faster than one caller with several threads, whose every
layer waits for the slowest. Over hundreds of tokens the float32 weights may stay where they are, in
the mapped file that processes share. A lone query of a few tokens is different: it takes as long as
reading all weights takes, which several threads do faster, from a copy packed for it. The copy is
made when the first lone batch comes, so a worker that fills a table has none. In int8 there is a
quarter to read, a second thread gains little, and batches need the packed copy too: one session.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import RLock
from typing import Any

from gte_pg.encoder.forks import renew_in_forks
from gte_pg.errors import ModelError
from gte_pg.models.catalogue import Precision

__all__ = ["PROVIDERS", "OpenGraph", "runtime"]

PROVIDERS = ("CPUExecutionProvider",)
QUIET = 4
# Of a query's layers more threads would get slices that are not worth waking them for.
LONE_THREADS = 4
# GELU and the bias before it as one operator take 1.1 times as long as the two.
SLOWER = ("BiasGeluFusion",)

# One session is opened at a time, and none while the process is forked: the runtime's own locks would
# be held for ever in the fork.
_opening = RLock()
os.register_at_fork(
    before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_opening.release
)


class OpenGraph:
    """A graph ready to run. Safe to use from several threads: what a run needs belongs to that run.

    Raises ModelError where it cannot be opened, which ends with `advice`.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: Precision,
        threads: int,
        providers: Sequence[str],
        advice: str,
    ) -> None:
        self._path, self._providers, self._advice = path, providers, advice
        with _opening:  # the runtime is imported, and no fork may find it half imported either
            _check_providers(providers)
        self._two = precision == "float32" and tuple(providers) == PROVIDERS
        self._lone_threads = min(threads, LONE_THREADS)
        self._sessions: dict[bool, Any] = {}
        self._runs: set[object] = set()
        self.session(alone=False)
        renew_in_forks(self)

    def run(
        self,
        outputs: Sequence[str] | None,
        inputs: Mapping[str, Any],
        options: Any = None,
        *,
        alone: bool,
    ) -> Any:
        """Return the graph's first output for a batch. Blocks."""
        session, this = self.session(alone=alone), object()
        self._runs.add(this)
        try:
            return session.run(outputs, inputs, options)[0]
        finally:
            self._runs.discard(this)

    def session(self, *, alone: bool) -> Any:
        """Return the session for a batch. The first one that is `alone` blocks for as long as it takes
        to read and pack the weights: up to a second for the largest models.
        """
        alone = alone and self._two
        if alone not in self._sessions:
            with _opening:
                if alone not in self._sessions:
                    self._sessions[alone] = self._opened(alone=alone)
        return self._sessions[alone]

    def renew_in_fork(self) -> None:
        """Forget, in a fork, the sessions that have threads or were running: they open again when needed.

        The others, and the memory of theirs, are shared with the parent.
        """
        for alone in list(self._sessions):
            if self._runs or (alone and self._lone_threads > 1):
                # Never destroyed: it would wait for its threads, even when the process ends.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._sessions.pop(alone)))
        self._runs = set()

    def _opened(self, *, alone: bool) -> Any:
        options = runtime().SessionOptions()
        options.intra_op_num_threads = self._lone_threads if alone else 1
        options.inter_op_num_threads = 1
        options.log_severity_level = QUIET
        # Shapes differ from batch to batch: memory planned for each of them is memory kept.
        options.enable_mem_pattern = False
        # Threads that wait by spinning would take a whole processor between one query and the next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._two and not alone:
            options.add_session_config_entry("session.disable_prepacking", "1")
        try:
            return runtime().InferenceSession(
                str(self._path),
                options,
                providers=list(self._providers),
                disabled_optimizers=SLOWER,
            )
        except Exception as error:  # the runtime's errors have no common base
            raise ModelError(
                f"the graph {self._path} cannot be loaded: {error}; {self._advice}"
            ) from error


def _check_providers(providers: Sequence[str]) -> None:
    available = runtime().get_available_providers()
    unknown = [name for name in providers if name not in available]
    if unknown or not providers:
        raise ModelError(
            f"this onnxruntime has no provider {', '.join(unknown)!r}, "
            f"it has {', '.join(available)}; install a build that has it"
        )


def runtime() -> Any:
    # It would tell its makers the names and hashes of models, by a thread without which a fork of this
    # process aborts when it ends.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    # Imported here: it costs 0.1 s, and naming a model does not need it.
    import onnxruntime  # noqa: PLC0415

    return onnxruntime
