"""The migrations that gte-pg ships, run by Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from gte_pg.database.schema import migrations_directory


def is_current(connection: Connection) -> bool:
    """Whether the schema that is there is this gte-pg's."""
    made = connection.execute(text("SELECT version_num FROM gte.schema_version")).scalars().all()
    return made == ScriptDirectory.from_config(_config()).get_heads()


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, in the caller's transaction."""
    config = _config()
    config.attributes["connection"] = connection
    with _outer_migration():
        command.upgrade(config, "head")


@contextmanager
def _outer_migration() -> Iterator[None]:
    """Let an application's migration that calls us go on: `alembic.op` and `context` are global."""
    outer = [getattr(module, "_proxy", None) for module in (context, op)]
    yield
    for proxy in filter(None, outer):
        proxy._install_proxy()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))
    return config
