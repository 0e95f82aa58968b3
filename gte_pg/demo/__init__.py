"""The demo: the documentation of this machine's Python, searchable by meaning."""

from __future__ import annotations

from gte_pg.demo.table import TABLE, Details, prepare_table, read_details

__all__ = ["TABLE", "Details", "prepare_table", "read_details"]
