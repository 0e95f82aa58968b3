"""The migrations that gte-pg ships, run by Alembic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from alembic import command, context, op
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text


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
    config.set_main_option("script_location", str(_directory()))
    return config


def _directory() -> Path:
    """Return the migrations: inside the installed package, beside it in a source checkout."""
    packaged = Path(str(resources.files("gte_pg").joinpath("migrations")))
    return packaged if packaged.is_dir() else packaged.parent.parent / "migrations"
