"""`alembic upgrade --sql`: what it prints does in psql what the migration does with a connection."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, connect, load_all
from gte_pg.declaration import Layout
from gte_pg.errors import DatabaseError
from gte_pg.install import prepare_database
from gte_pg.orm import Embedding
from tests.alembic.application import (
    Application,
    articles,
    embedding,
    encode,
    fill,
    is_sound,
    version,
)
from tests.postgres import new_database

# Everything that is not Postgres' own, and what gte-pg knows of the embeddings. What is printed is for
# the oldest Postgres: functions may differ in their text.
_OBJECTS = """
SELECT 'class', relname::text, '' FROM pg_class WHERE oid >= 16384 AND relname NOT LIKE 'pg_toast%'
UNION ALL SELECT 'trigger', tgname, tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function', proname, '' FROM pg_proc WHERE oid >= 16384
UNION ALL SELECT 'column', attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped AND relkind = 'r'
UNION ALL SELECT 'embedding', name, (to_jsonb(e) - 'id' - 'created_at')::text FROM gte.embedding AS e
ORDER BY 1, 2
"""


def objects(connection: Connection) -> list[tuple[object, ...]]:
    return connection.execute(_OBJECTS).fetchall()


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_the_printed_statements_do_the_same(
    application: Application, reader: Connection, server: str, tmp_path: Path, layout: Layout
) -> None:
    changes: list[list[Embedding]] = [
        [embedding("title", "body", layout=layout)],
        [embedding(template="{title}: {body} & more", layout=layout, on_change="keep")],
        [embedding("body", layout=layout, storage="halfvec")],
        [],
    ]
    with application.engine.begin() as transaction:
        prepare_database(transaction)
    with new_database(server, "template1") as name:
        online = Application(make_conninfo(server, dbname=name), tmp_path / "online")
        with connect(online.dsn) as other:
            with online.engine.begin() as transaction:
                prepare_database(transaction)
            # A table that has rows: on an empty one the search indexes are made at once.
            for connection in (reader, other):
                connection.execute(
                    "CREATE TABLE articles (id bigserial PRIMARY KEY, title text, body text)"
                )
                fill(connection)
            before = "base"
            for embeddings in changes:
                metadata = articles(*embeddings)
                for one in (application, online):
                    assert "_embedding(" in one.revise(metadata)
                online.upgrade()
                application.run_printed(f"{before}:head" if before != "base" else "head")
                before = version(reader)
                assert application.differences(metadata) == []
                assert objects(reader) == objects(other)
                for connection in (reader, other):
                    encode(connection)
                assert is_sound(reader)
            for _ in changes[1:]:
                online.downgrade()
                application.run_printed(f"{version(reader)}:-1")
                assert objects(reader) == objects(other)
                for connection in (reader, other):
                    encode(connection)
                assert is_sound(reader)
        online.engine.dispose()


def test_a_database_without_the_schema_of_gte_pg_says_so(
    application: Application, reader: Connection
) -> None:
    application.revise(articles(embedding("title")))
    with pytest.raises(subprocess.CalledProcessError) as raised:
        application.run_printed("head")
    assert "gte-pg init --print-sql" in raised.value.stderr
    assert load_all(reader) == []


def test_search_indexes_are_dropped_by_name_and_not_created(application: Application) -> None:
    application.edit(
        upgrade="op.drop_search_indexes('articles', schema='app')",
        downgrade="op.create_search_indexes('articles', concurrently=True)",
    )
    assert 'DROP INDEX IF EXISTS "app"."articles_embedding_tokens";' in application.printed("head")
    with pytest.raises(DatabaseError, match="gte-pg sync builds"):
        application.printed("head:base")
