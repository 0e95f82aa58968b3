"""What every request is answered with: the models, the queue, the database, the numbers."""

from __future__ import annotations

from dataclasses import dataclass

from gte_pg.serve.database import Database
from gte_pg.serve.metrics import Metrics
from gte_pg.serve.models import Models
from gte_pg.serve.settings import Settings
from gte_pg.serve.turns import Turns

__all__ = ["Service"]


@dataclass(frozen=True, slots=True)
class Service:
    metrics: Metrics
    models: Models
    turns: Turns
    database: Database

    @classmethod
    def start(cls, settings: Settings) -> Service:
        """Make all of it. Blocks nowhere: the database is connected to in the background."""
        metrics = Metrics()
        database = Database(
            settings.dsn,
            metrics,
            connections=settings.connections,
            statement_seconds=settings.statement_seconds,
        )
        return cls(
            metrics=metrics,
            models=Models(metrics, settings.models, most=settings.most_models),
            turns=Turns(metrics, most_texts=settings.most_texts),
            database=database,
        )

    def close(self) -> None:
        """Blocks until the statements that run have ended."""
        self.models.close()
        self.turns.close()
        self.database.close()
