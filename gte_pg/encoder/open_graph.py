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
from weakref import finalize

from gte_pg.encoder.forks import PerProcess
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
_opening = PerProcess(RLock)
os.register_at_fork(
    before=lambda: _opening().acquire(), after_in_parent=lambda: _opening().release()
)

# A process, and whether the batches of its session are alone.
_Key = tuple[int, bool]


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
        with _opening():  # the runtime is imported, and no fork may find it half imported either
            _check_providers(providers)
        self._two = precision == "float32" and tuple(providers) == PROVIDERS
        self._lone_threads = min(threads, LONE_THREADS)
        self._sessions: dict[_Key, Any] = {}
        self._runs: set[tuple[int, object]] = set()
        finalize(self, _leave_to_the_parent, self._sessions)
        self.session(alone=False)

    def run(
        self,
        outputs: Sequence[str] | None,
        inputs: Mapping[str, Any],
        options: Any = None,
        *,
        alone: bool,
    ) -> Any:
        """Return the graph's first output for a batch. Blocks."""
        session, this = self.session(alone=alone), (os.getpid(), object())
        self._runs.add(this)
        try:
            return session.run(outputs, inputs, options)[0]
        finally:
            self._runs.discard(this)

    def session(self, *, alone: bool) -> Any:
        """Return the session for a batch. The first one that is `alone` blocks for as long as it takes
        to read and pack the weights: up to a second for the largest models.
        """
        key = os.getpid(), alone and self._two
        if key not in self._sessions:
            with _opening():
                if key not in self._sessions:
                    self._sessions[key] = self._inherited(key) or self._opened(alone=key[1])
        return self._sessions[key]

    def _inherited(self, own: _Key) -> Any:
        """Return the session of the process that this one was forked from, whose memory the two share.

        None if it has threads, which are not here, or if a run was on: nobody ends that here.
        """
        theirs = [key for key in self._sessions if key[0] != own[0] and key[1] == own[1]]
        if not theirs or (own[1] and self._lone_threads > 1):
            return None
        was_running = any(process == theirs[-1][0] for process, _ in list(self._runs))
        return None if was_running else self._sessions.pop(theirs[-1])

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


def _leave_to_the_parent(sessions: Mapping[_Key, Any]) -> None:
    """Let no session be destroyed that a fork has from its parent: it would wait for its threads, even
    when the process ends.
    """
    for (process, _), session in sessions.items():
        if process != os.getpid():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))


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
