"""The models in memory: loaded when first asked for, no more than so many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gte_pg.encoder import Encoder
from gte_pg.models.catalogue import Precision, find, unknown
from gte_pg.serve.metrics import Metrics
from gte_pg.serve.problem import busy

__all__ = ["Models"]

Key = tuple[str, Precision]


class Models:
    """Encoders by model and precision. For use in one event loop.

    The one that was used least recently makes room for a new one; what still runs on it finishes.
    `offered` are models that a request may name beyond the known ones: what else it names is never
    looked for among the server's files.
    """

    def __init__(self, metrics: Metrics, offered: Collection[str], *, most: int) -> None:
        self._metrics = metrics
        self._offered = {*offered, *map(_key, offered)}
        self._most = most
        self._loaded: dict[Key, asyncio.Future[Encoder]] = {}
        # One load at a time: a model takes more memory while it is loaded than after.
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="gte-pg-load")

    async def asked_for(self, name: str, precision: Precision) -> Encoder:
        """Return the encoder of a model that a request names. Raises ModelNotFound, as `get` does."""
        if find(name) is None and name not in self._offered:
            raise unknown(name)
        return await self.get(name, precision)

    async def get(self, name: str, precision: Precision) -> Encoder:
        """Return the encoder of a model, loading it first if need be: seconds, and minutes where it
        must be fetched. A caller that is cancelled leaves the load to those that come after it.

        Raises ModelNotFound, ModelError, and Problem (503) while other models are being loaded and
        there is no room for one more.
        """
        key = (_key(name), precision)
        loading = self._loaded.pop(key, None)
        if loading is None or _failed(loading):
            self._make_room()
            loop = asyncio.get_running_loop()
            loading = asyncio.ensure_future(
                loop.run_in_executor(self._loader, lambda: Encoder.load(name, precision=precision))
            )
        self._loaded[key] = loading  # the last one is the one used last
        self._metrics.models.set(len(self._loaded))
        return await asyncio.shield(loading)

    def close(self) -> None:
        self._loader.shutdown(wait=False, cancel_futures=True)

    def _make_room(self) -> None:
        ready = [key for key, loading in self._loaded.items() if loading.done()]
        for key in ready[: max(0, len(self._loaded) - self._most + 1)]:
            del self._loaded[key]
        if len(self._loaded) >= self._most:
            self._metrics.refused.labels("models").inc()
            raise busy("other models are being loaded")


def _key(name: str) -> str:
    known = find(name)
    return known.name if known else str(Path(name).expanduser().resolve())


def _failed(loading: asyncio.Future[Encoder]) -> bool:
    return loading.done() and (loading.cancelled() or loading.exception() is not None)
