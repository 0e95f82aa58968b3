"""What Prometheus is told. Nothing of a request's texts is in it."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from gte_pg.encoder import Encoder

__all__ = ["Metrics"]

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
TEXTS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The numbers of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "gte_pg_requests",
            "Requests answered; status 499: the client left",
            ["path", "status"],
            registry=self._registry,
        )
        self.request_seconds = Histogram(
            "gte_pg_request_seconds",
            "From a request's head to its answer's end",
            ["path"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.refused = Counter(
            "gte_pg_refused",
            "Requests turned away with 503, by what was full: queue, memory, models, database",
            ["full"],
            registry=self._registry,
        )
        self.waiting_texts = Gauge(
            "gte_pg_waiting_texts",
            "Texts waiting to be encoded or being encoded",
            registry=self._registry,
        )
        self.held_bytes = Gauge(
            "gte_pg_held_bytes",
            "Size of the requests and answers in memory",
            registry=self._registry,
        )
        self.models = Gauge(
            "gte_pg_models", "Models in memory, or on their way there", registry=self._registry
        )
        self._turn_texts = Histogram(
            "gte_pg_turn_texts",
            "Texts that one call of the encoder took together",
            buckets=TEXTS,
            registry=self._registry,
        )
        self._turn_seconds = Histogram(
            "gte_pg_turn_seconds",
            "Duration of one call of the encoder",
            buckets=SECONDS,
            registry=self._registry,
        )
        self._texts = Counter(
            "gte_pg_encoded_texts", "Texts encoded", ["model"], registry=self._registry
        )
        self._tokens = Counter(
            "gte_pg_encoded_tokens", "Tokens encoded", ["model"], registry=self._registry
        )

    def turn(self, encoder: Encoder, token_counts: Sequence[int], seconds: float) -> None:
        """Record one call of an encoder, by the tokens of each text that it encoded."""
        self._turn_seconds.observe(seconds)
        self._turn_texts.observe(len(token_counts))
        self._texts.labels(encoder.identity.name).inc(len(token_counts))
        self._tokens.labels(encoder.identity.name).inc(sum(token_counts))

    def written(self) -> bytes:
        """Return all numbers in Prometheus' text format."""
        return generate_latest(self._registry)
