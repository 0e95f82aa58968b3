"""The `gte` schema: made and brought up to date by the migrations that gte-pg ships."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import Connection, text

from gte_pg.database.extension import ensure_pgvector
from gte_pg.database.statements import run

# One documented key for every advisory lock on the schema: the ASCII codes of "gte-pg".
_SCHEMA_LOCK = int.from_bytes(b"gte-pg")

_PACKAGE = resources.files("gte_pg")


def ensure_schema(connection: Connection) -> None:
    """Create or upgrade the `gte` schema in the caller's transaction; harmless when it is current.

    Installs pgvector where it is missing. Other callers wait until this transaction ends.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
    vector = ensure_pgvector(connection)
    run(connection, sql.SQL("CREATE SCHEMA IF NOT EXISTS gte"))
    before = connection.execute(text("SELECT current_setting('search_path')")).scalar_one()
    set_path = text("SELECT set_config('search_path', :path, true)")
    # pgvector may live in any schema: its types are found here and bound for good in what is made.
    path = sql.SQL(", ").join([sql.Identifier("pg_catalog"), sql.Identifier(vector.schema)])
    connection.execute(set_path, {"path": path.as_string()})
    config = Config()
    config.set_main_option("script_location", str(_migrations()))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    run(connection, sql.SQL(_PACKAGE.joinpath("database/functions.sql").read_text()))
    run(connection, sql.SQL("GRANT USAGE ON SCHEMA gte TO PUBLIC"))
    run(connection, sql.SQL("GRANT SELECT ON gte.embedding, gte.key_frequency TO PUBLIC"))
    connection.execute(set_path, {"path": before})


def _migrations() -> Path:
    """Return the migrations: inside the installed package, beside it in a source checkout."""
    packaged = Path(str(_PACKAGE.joinpath("migrations")))
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"
