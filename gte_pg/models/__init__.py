"""A model's files: which models are known, where their files are, what their settings say."""

from __future__ import annotations

from gte_pg.models.catalogue import Precision
from gte_pg.models.identity import ModelIdentity, identify
from gte_pg.models.source import locate

__all__ = ["ModelIdentity", "Precision", "identify", "locate"]
