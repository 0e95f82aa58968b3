"""What an error says to a person: Postgres' own words and, where it can be known, what to do."""

from __future__ import annotations

import re

import psycopg
from sqlalchemy.exc import DBAPIError

from gte_pg.errors import GtePgError

_READ_ONLY = (
    "This server is a read-only standby, or default_transaction_read_only is on for this role or "
    "database: connect to the primary (target_session_attrs=read-write in the DSN finds it among "
    "several hosts), or switch that off"
)

_HIDDEN = (
    "Let this role see all rows (ALTER ROLE … BYPASSRLS), or run it as the owner of the table, unless "
    "row-level security is forced on the owner too. The companion of an embedding always has a policy, "
    "even where its table has none"
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

# What a worker reads and writes; the schema has other tables, which are nobody else's business.
_TABLES = ("embedding", "lease", "failure", "throughput", "key_frequency")

# Where Postgres raises it: the words are in the server's language.
_OF_POLICIES, _OF_RIGHTS = "check_enable_rls", "aclcheck_error"


def said(error: BaseException) -> str:
    """Return the message of an error of gte-pg's, psycopg's or SQLAlchemy's, and what to do about it."""
    if isinstance(error, DBAPIError):
        error = error.orig or error
    if isinstance(error, GtePgError):
        return str(error)
    lines = str(error).strip().split("\n")
    words = "Postgres says: " + "\n".join(map(printable, lines))
    advice = _advice(error) if isinstance(error, psycopg.Error) else ""
    return f"{words}. {advice}" if advice else words


def printable(text: str) -> str:
    """Write control characters as escapes: a terminal obeys those in a key, or in what a trigger raises."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def _advice(error: psycopg.Error) -> str:
    if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
        return _READ_ONLY
    if error.diag.source_function == _OF_POLICIES:
        return _HIDDEN
    if error.diag.source_function == _OF_RIGHTS:
        words = re.findall(r"\w+", error.diag.message_primary or "")
        for table in _TABLES:
            if table in words:
                tables = ", ".join(f"gte.{name}" for name in _TABLES)
                return (
                    f"If that is gte.{table}, which is gte-pg's own: "
                    f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO …"
                )
    return ""
