"""docs/sync.md: the role that it makes for workers can do what they do; what there is to choose is said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection
from tests.tables import add_embedding

GUIDE = (Path(__file__).parents[2] / "docs" / "sync.md").read_text(encoding="utf-8")
(ROLE,) = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def worker(dsn: str, connection: Connection, model: str) -> Iterator[str]:
    """The DSN of the guide's role, beside its two tables; one of them is partitioned."""
    connection.execute("""
        CREATE TABLE articles (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE articles_1 PARTITION OF articles FOR VALUES FROM (1) TO (4);
        CREATE TABLE articles_2 PARTITION OF articles DEFAULT;
        CREATE TABLE notes (id int PRIMARY KEY, title text);
        INSERT INTO articles SELECT n, 'article ' || n FROM generate_series(1, 5) n;
        INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 5) n;
    """)
    add_embedding(dsn, connection, "articles", ("title",), model)
    add_embedding(dsn, connection, "notes", ("title",), model, layout="companion", copied=False)
    connection.execute("INSERT INTO notes VALUES (6, NULL)")
    try:
        connection.execute(ROLE.encode())
        yield make_conninfo(dsn, options="-c role=worker")
    finally:
        connection.execute("DROP OWNED BY worker")
        connection.execute("DROP ROLE worker")


def test_its_rights_are_enough(worker: str, connection: Connection) -> None:
    # A worker that died, a row that had failed, and one that is gone.
    connection.execute("""
        INSERT INTO gte.lease (embedding, owner, until, attempts, keys)
            SELECT id, 'dead', '-infinity', 5, '{1,2}' FROM gte.embedding;
        INSERT INTO gte.failure (embedding, key, hash, attempts, error, retry_at)
            SELECT id, key, '', 1, '', now() FROM gte.embedding, unnest('{3,99}'::text[]) AS key;
    """)
    for command in ("sync", "status", "retry notes", "sync --check"):
        done = CliRunner().invoke(main, [*command.split(), "--dsn", worker])
        assert done.exit_code == 0, (command, done.output)
    for left in (
        "articles WHERE embedding IS NULL",
        "notes_embedding WHERE embedding_pending IS NOT NULL",
        "gte.failure",
        "gte.lease",
    ):
        assert connection.execute(f"SELECT FROM {left}".encode()).rowcount == 0, left


def test_what_the_columns_cannot_avoid_is_said_where_people_choose() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    help_of_add = CliRunner().invoke(main, ["add", "--help"]).output
    for told in (GUIDE, readme, help_of_add):
        words = " ".join(told.replace("**", "").split())
        for said in ("audit triggers", "REPEATABLE READ"):
            assert said in words
        assert "wider" in words or "rows stay narrow" in words or "rows must not grow" in words
