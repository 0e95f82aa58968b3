"""The database around the user's table: the gte schema, the registry, connections, adapters."""

from __future__ import annotations

from gte_pg.database.connect import (
    Connection,
    connect,
    connect_pooled,
    connect_to_stay,
    engine,
    is_pooled,
    vector_path,
)
from gte_pg.database.dsn import libpq_dsn
from gte_pg.database.embedded import embedded_data_directory, start_embedded
from gte_pg.database.free_names import check_companion_is_free, check_names_are_free
from gte_pg.database.late_triggers import late_triggers
from gte_pg.database.present_key import check_key
from gte_pg.database.registry import (
    Registered,
    change,
    forget,
    is_still_declared,
    load,
    load_all,
    register,
    registered_as,
)
from gte_pg.database.said import printable, said
from gte_pg.database.schema import ensure_schema, has_schema, mark_schema, shipped_schema
from gte_pg.database.source_text import check_source_text
from gte_pg.database.statements import ask, fill, plain_connection, postgres_version, run
from gte_pg.database.table import Table, find_table, in_current_schema
from gte_pg.database.unchanged import check_unchanged, lock_unchanged

__all__ = [
    "Connection",
    "Registered",
    "Table",
    "ask",
    "change",
    "check_companion_is_free",
    "check_key",
    "check_names_are_free",
    "check_source_text",
    "check_unchanged",
    "connect",
    "connect_pooled",
    "connect_to_stay",
    "embedded_data_directory",
    "engine",
    "ensure_schema",
    "fill",
    "find_table",
    "forget",
    "has_schema",
    "in_current_schema",
    "is_pooled",
    "is_still_declared",
    "late_triggers",
    "libpq_dsn",
    "load",
    "load_all",
    "lock_unchanged",
    "mark_schema",
    "plain_connection",
    "postgres_version",
    "printable",
    "register",
    "registered_as",
    "run",
    "said",
    "shipped_schema",
    "start_embedded",
    "vector_path",
]
