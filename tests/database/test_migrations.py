"""Every released revision of the gte schema becomes the present one in place, with what is in it."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text

from gte_pg.database import Connection, connect, engine, load
from gte_pg.database.schema import migrations_directory
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError
from gte_pg.install import prepare_database
from gte_pg.search import encode_query, search
from gte_pg.sync import count_broken, missing_triggers
from tests.tables import ARTICLES, add_embedding, drain

CONFIG = Config()
CONFIG.set_main_option("script_location", str(migrations_directory()))

REVISIONS = [script.revision for script in ScriptDirectory.from_config(CONFIG).walk_revisions()]

# What the schema is made of, in words that are the same in every database.
_DEFINITION = """
SELECT 'column', table_name, column_name, data_type, is_nullable, column_default
FROM information_schema.columns WHERE table_schema = 'gte' AND table_name <> 'schema_version'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', ''
FROM pg_constraint WHERE connamespace = 'gte'::regnamespace
UNION ALL
SELECT 'index', tablename, indexname, indexdef, '', '' FROM pg_indexes WHERE schemaname = 'gte'
UNION ALL
SELECT 'view', viewname, '', definition, '', '' FROM pg_views WHERE schemaname = 'gte'
UNION ALL
SELECT 'function', oid::regprocedure::text, proacl::text, pg_get_functiondef(oid), '', ''
FROM pg_proc WHERE pronamespace = 'gte'::regnamespace AND prorettype <> 'trigger'::regtype
UNION ALL
SELECT 'policy', tablename, policyname, qual, cmd, roles::text FROM pg_policies WHERE schemaname = 'gte'
UNION ALL
SELECT 'rights', table_name, grantee, privilege_type, '', ''
FROM information_schema.role_table_grants
WHERE table_schema = 'gte' AND table_name <> 'schema_version'
"""


def definition(dsn: str) -> set[tuple[object, ...]]:
    with connect(dsn) as connection:
        return set(connection.execute(_DEFINITION).fetchall())


def bring_back(dsn: str, revision: str) -> None:
    """Take a database back to what an older gte-pg had made, with what is in it."""
    made = engine(dsn)
    with made.begin() as connection:
        CONFIG.attributes["connection"] = connection
        command.downgrade(CONFIG, revision)
        connection.execute(text("COMMENT ON SCHEMA gte IS NULL"))
    made.dispose()


# Which layouts there were. walk_revisions begins with the newest.
MADE: list[tuple[str, Layout]] = [
    *((revision, "columns") for revision in REVISIONS),
    *((revision, "companion") for revision in REVISIONS if revision >= "0002"),
]


@pytest.mark.parametrize(("revision", "layout"), MADE)
def test_an_upgrade_in_place_loses_nothing(
    dsn: str,
    connection: Connection,
    model: str,
    encoder: Encoder,
    revision: str,
    layout: Layout,
) -> None:
    fresh = definition(dsn)
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'cat'), (2, 'database')")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, registered)
    connection.execute("INSERT INTO articles VALUES (3, 'pending'), (4, 'parked'), (5, 'leased')")
    connection.execute(
        "INSERT INTO gte.failure (embedding, key, hash, attempts, error) "
        "VALUES (%s, '4', '\\x01', 6, 'bad')",
        (registered.id,),
    )
    connection.execute(
        "INSERT INTO gte.lease (embedding, owner, until, keys) "
        "VALUES (%s, 'somebody', now() + interval '1 hour', '{5}')",
        (registered.id,),
    )
    frequency = "INSERT INTO gte.key_frequency (embedding, key, rows) VALUES (%s, 7, 1)"
    connection.execute(frequency, (registered.id,))
    kept = {
        table: f"SELECT to_jsonb(t) FROM {table} AS t ORDER BY 1".encode()
        for table in (
            registered.declaration.vectors.as_string(),
            "gte.failure",
            "gte.lease",
            "gte.key_frequency",
        )
    }
    before = {table: connection.execute(rows).fetchall() for table, rows in kept.items()}
    bring_back(dsn, revision)
    if revision != REVISIONS[0]:
        with pytest.raises(DatabaseError, match="gte-pg init"):
            load(connection, "articles")
    made = engine(dsn)
    with made.begin() as transaction:
        prepare_database(transaction)
    made.dispose()
    assert definition(dsn) == fresh
    assert {table: connection.execute(rows).fetchall() for table, rows in kept.items()} == before
    assert all(before.values())
    registered = load(connection, "articles")
    assert registered.declaration.layout == layout
    assert missing_triggers(connection, registered) == []
    assert count_broken(connection, registered) == 0
    # The leased row is another worker's for an hour.
    assert drain(connection, registered).encoded == 2
    query = encode_query(encoder, registered.declaration, "cat")
    assert search(connection, registered, query)[0].key == {"id": 1}
