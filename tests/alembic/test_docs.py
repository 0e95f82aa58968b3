"""docs/alembic.md: what it says that autogenerate writes is what autogenerate writes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

import gte_pg.alembic
from gte_pg.database import connect
from gte_pg.orm import Embedding
from tests.alembic.application import ENVIRONMENT, Application

GUIDE = (Path(__file__).parents[2] / "docs" / "alembic.md").read_text(encoding="utf-8")

ENVIRONMENT_LINES, MIGRATION = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.model
def test_the_migration_is_the_one_that_is_written(empty_dsn: str, tmp_path: Path) -> None:
    application = Application(empty_dsn, tmp_path / "migrations")
    with connect(empty_dsn) as connection:
        connection.execute(
            "CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)"
        )
    metadata = sa.MetaData()
    sa.Table(
        "articles",
        metadata,
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("title", sa.Text),
        sa.Column("body", sa.Text),
        Embedding("title", "body", name="embedding", model="all-MiniLM-L6-v2"),
    )
    written = application.revise(metadata)
    lines = [line for line in written.splitlines() if not line.strip().startswith("# ###")]
    assert "\n".join(lines).partition("def upgrade")[2].strip() == (
        MIGRATION.partition("def upgrade")[2].strip()
    )
    application.upgrade()
    assert application.differences(metadata) == []
    application.engine.dispose()


def test_the_environment_is_the_one_of_these_tests() -> None:
    for line in ENVIRONMENT_LINES.splitlines():
        assert line.partition("#")[0].strip() in ENVIRONMENT


def test_the_operations_are_there() -> None:
    named = set(re.findall(r"op\.([a-z_]+)\(", GUIDE)) - {"alter_column"}
    from alembic import op

    assert named == {name for name in dir(op) if name.endswith(("_embedding", "_search_indexes"))}
    gte_pg.alembic.register()
    gte_pg.alembic.register()
