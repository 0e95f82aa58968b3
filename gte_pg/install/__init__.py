"""Putting an embedding on a table and taking it off: every statement, in order."""

from __future__ import annotations

from gte_pg.install.alter import (
    alter_statements,
    index_statements,
    is_alterable,
    is_other_index,
)
from gte_pg.install.filling import count_lost, fill_up
from gte_pg.install.install import (
    add_statements,
    attach_statements,
    create_indexes,
    detach_statements,
    remove_statements,
)
from gte_pg.install.prepare import prepare_database, refresh_database
from gte_pg.install.standbys import (
    altered_along,
    check_goes_on,
    check_is_like,
    next_name,
    next_of,
    not_kept,
    previous_name,
    previous_of,
    standbys_of,
)
from gte_pg.install.switch import exchange_statements

__all__ = [
    "add_statements",
    "alter_statements",
    "altered_along",
    "attach_statements",
    "check_goes_on",
    "check_is_like",
    "count_lost",
    "create_indexes",
    "detach_statements",
    "exchange_statements",
    "fill_up",
    "index_statements",
    "is_alterable",
    "is_other_index",
    "next_name",
    "next_of",
    "not_kept",
    "prepare_database",
    "previous_name",
    "previous_of",
    "refresh_database",
    "remove_statements",
    "standbys_of",
]
