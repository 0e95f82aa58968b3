"""`gte.search_text`: the functions that let the database itself ask the server."""

from __future__ import annotations

from importlib import resources
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from gte_pg.database import connect
from gte_pg.errors import DatabaseError, GtePgError

__all__ = ["install_search_text"]

_FUNCTIONS = resources.files("gte_pg").joinpath("serve/search_text.sql")

# The body's types are found in pgvector's own schema, wherever the caller's search path leads.
_PIN = sql.SQL("ALTER FUNCTION gte.search_text SET search_path = pg_catalog, {}")

_VECTOR_SCHEMA = """
SELECT nspname FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'
"""

_SERVER = """
INSERT INTO gte.server (url, token) VALUES (%(url)s, %(token)s)
ON CONFLICT (only_one) DO UPDATE SET url = excluded.url, token = excluded.token
"""


def install_search_text(dsn: str, url: str, token: str | None) -> None:
    """Make or replace `gte.search_text`, which asks the server at `url`, in one transaction.

    Raises GtePgError, DatabaseError where the database has no plpython3u or the role may not use it.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise GtePgError(f"{url!r} is not the server's URL; write it as http://127.0.0.1:8100")
    with connect(dsn) as connection, connection.transaction():
        schema = connection.execute(_VECTOR_SCHEMA).fetchone()
        if schema is None or connection.execute(
            "SELECT to_regclass('gte.embedding')"
        ).fetchone() == (None,):
            raise DatabaseError("the database has no gte schema: run gte-pg init first")
        try:
            connection.execute(_FUNCTIONS.read_text(encoding="utf-8").encode())
        except (psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile) as error:
            raise DatabaseError(
                f"this Postgres has no plpython3u ({str(error).splitlines()[0]}): install "
                "postgresql-plpython3-NN on its machine, or ask the server's POST /vectors and pass "
                "what it gives to gte.search"
            ) from error
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(
                f"plpython3u takes a superuser: {str(error).splitlines()[0]}"
            ) from error
        connection.execute(_PIN.format(sql.Identifier(str(schema[0]))))
        connection.execute(_SERVER, {"url": url.rstrip("/"), "token": token})
