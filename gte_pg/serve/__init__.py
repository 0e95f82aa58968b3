"""Serving: one resident encoder and a few connections to Postgres, for every program that asks by HTTP."""

from __future__ import annotations

from gte_pg.serve.search_text import install_search_text
from gte_pg.serve.server import serve
from gte_pg.serve.settings import Settings

__all__ = ["Settings", "install_search_text", "serve"]
