"""docs/alembic.md: its blocks, in their order, in an application that `alembic init` began."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

import gte_pg.alembic
from gte_pg.database import connect, load
from gte_pg.sync.indexes import missing_search_indexes
from tests.alembic.application import run_in_psql

GUIDE = (Path(__file__).parents[2] / "docs" / "alembic.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


ENVIRONMENT, MIGRATION, BY_HAND = blocks("python")
REVISE, PRINT = blocks("sh")
(CHECKED,) = blocks("toml")

MODELS = """
from sqlalchemy import Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from gte_pg import Embedding, Searchable


class Base(DeclarativeBase):
    pass


class Article(Searchable, Base):
    __tablename__ = "articles"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str | None] = mapped_column(Text)
    embedding = Embedding("title", "body", model="all-MiniLM-L6-v2")
"""


class Folder:
    """A folder in which the commands of the guide are run."""

    def __init__(self, path: Path, dsn: str) -> None:
        self.path = path
        self.dsn = dsn

    def run(self, commands: str) -> str:
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=self.path,
            env=os.environ | {"PATH": programs, "GTE_PG_DSN": self.dsn, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{commands}: {done.stdout}{done.stderr}"
        return done.stdout

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.path / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    def newest(self) -> Path:
        """Return the migration that was written last."""
        return max((self.path / "migrations/versions").glob("*.py"), key=os.path.getmtime)


@pytest.fixture
def folder(empty_dsn: str, tmp_path: Path) -> Folder:
    """An application whose first migration is the guide's, not yet run."""
    with connect(empty_dsn) as connection:
        connection.execute("CREATE TABLE articles (id int PRIMARY KEY, title text, body text)")
        connection.execute("INSERT INTO articles VALUES (1, 'Dune', 'A desert planet')")
    made = Folder(tmp_path, empty_dsn)
    made.run("alembic init migrations")
    parts = conninfo_to_dict(empty_dsn)
    options = "&".join(f"{key}={value}" for key, value in parts.items() if key != "dbname")
    url = f"postgresql:///{parts['dbname']}?{options}"
    made.edit("alembic.ini", "driver://user:pass@localhost/dbname", url)
    models = f"import models\n\ntarget_metadata = models.Base.metadata\n{ENVIRONMENT}"
    made.edit("migrations/env.py", "target_metadata = None", models)
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    made.run(REVISE)
    return made


@pytest.mark.model
def test_autogenerate_writes_what_the_guide_says(folder: Folder) -> None:
    written = folder.newest().read_text(encoding="utf-8").partition("def upgrade")[2]
    code = [line for line in written.splitlines() if not line.strip().startswith(("#", '"""'))]
    assert "\n".join(code).split() == MIGRATION.partition("def upgrade")[2].split()
    folder.run("alembic upgrade head; alembic check; gte-pg sync; alembic check")


@pytest.mark.model
def test_the_migration_that_is_written_by_hand(folder: Folder) -> None:
    folder.run("alembic upgrade head; gte-pg sync; alembic revision -m indexes")
    head = folder.newest().read_text(encoding="utf-8").partition("def upgrade")[0]
    folder.newest().write_text(head + BY_HAND, encoding="utf-8")
    with connect(folder.dsn) as connection:
        declaration = load(connection, "articles").declaration
        connection.execute("DROP INDEX articles_embedding_dense")
        assert len(missing_search_indexes(connection, declaration)) == 1
        folder.run("alembic upgrade head; alembic check")
        assert missing_search_indexes(connection, declaration) == []
        folder.run("alembic downgrade -1; alembic upgrade +1; alembic downgrade -1")
        assert len(missing_search_indexes(connection, declaration)) == 2


@pytest.mark.model
def test_what_is_printed_is_run_in_psql(folder: Folder) -> None:
    folder.run(PRINT)
    with connect(folder.dsn) as connection:
        # Looking for differences has made it; where the script is run, it is not there yet.
        connection.execute("DROP TABLE alembic_version")
    for script in ("schema.sql", "articles.sql"):
        run_in_psql(folder.dsn, (folder.path / script).read_text(encoding="utf-8"))
    folder.run("gte-pg sync; alembic check")
    with connect(folder.dsn) as connection:
        assert connection.execute("SELECT count(embedding) FROM articles").fetchone() == (1,)


@pytest.mark.model
def test_mypy_accepts_the_migrations(folder: Folder) -> None:
    folder.run("touch migrations/__init__.py migrations/versions/__init__.py")
    strict = "[tool.mypy]\nstrict = true\n"
    for settings in (strict, strict + CHECKED):
        (folder.path / "pyproject.toml").write_text(settings, encoding="utf-8")
        refused = "mypy -p migrations.versions | grep 'no attribute \"add_embedding\"'"
        folder.run(refused if settings == strict else "mypy -p migrations.versions")


def test_the_operations_are_those_that_the_guide_names() -> None:
    gte_pg.alembic.register()
    gte_pg.alembic.register()
    named = set(re.findall(r"op\.([a-z_]+)", GUIDE)) - {
        "alter_column",
        "rename_table",
        "create_table",
    }
    from alembic import op

    assert named == {name for name in dir(op) if name.endswith(("_embedding", "_search_indexes"))}
