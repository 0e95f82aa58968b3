"""`gte-pg`: one file a command."""

from __future__ import annotations

from gte_pg.cli.main import main

__all__ = ["main"]
