"""gte-pg: make any Postgres table searchable by meaning."""

from __future__ import annotations
