"""What a command prints with --print-sql does what the command does."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import CliRunner
from psycopg import sql
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, connect, load
from gte_pg.declaration import Layout, declared_encoder, search_indexes
from gte_pg.sync import Worker, count_broken, missing_search_indexes, missing_triggers
from tests.tables import ARTICLES, add_embedding, drain, index_being_built


def gte_pg(dsn: str, *arguments: str) -> str:
    done: Any = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def objects(connection: Connection) -> list[tuple[object, ...]]:
    """Everything that is not Postgres' own."""
    return connection.execute("""
        SELECT 'class', relname::text FROM pg_class WHERE oid >= 16384 AND relkind <> 't'
        AND relname NOT LIKE 'pg_toast%'
        UNION ALL SELECT 'trigger', tgname::text FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT 'function', proname::text FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'column', attname::text FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped AND relkind = 'r'
        UNION ALL SELECT 'version', version_num FROM gte.schema_version
        ORDER BY 1, 2
    """).fetchall()


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_the_printed_statements_are_the_command(
    empty_dsn: str, server: str, model: str, plain_model: str, layout: str
) -> None:
    from psycopg.conninfo import make_conninfo

    from tests.postgres import new_database

    add = ("add", "articles", "--source", "title,body", "--model", model, "--layout", layout)
    switch = ("switch", "articles", "--model", plain_model)
    remove = ("remove", "articles", "--name", "embedding_previous")
    with new_database(server, "template1") as name:
        other_dsn = make_conninfo(server, dbname=name)
        with connect(empty_dsn) as printed, connect(other_dsn) as done:
            for connection in (printed, done):
                connection.execute(ARTICLES)
            for command in (("init",), add, switch, remove):
                statements = gte_pg(empty_dsn, *command, "--print-sql")
                printed.execute(statements.encode())
                gte_pg(other_dsn, *command)
                if command == switch:
                    drain(printed, load(printed, "articles", "embedding_next"))
                    printed.execute(gte_pg(empty_dsn, *command, "--print-sql").encode())
                for connection in (printed, done):
                    if command != ("init",):
                        drain(connection, load(connection, "articles", "embedding"))
                assert objects(printed) == objects(done), command
            registered = load(printed, "articles")
            assert (count_broken(printed, registered), missing_triggers(printed, registered)) == (
                0,
                [],
            )


def test_what_init_prints_finds_pgvector_outside_the_search_path(empty_dsn: str) -> None:
    with connect(empty_dsn) as connection:
        connection.execute("CREATE SCHEMA app")
    own_dsn = make_conninfo(empty_dsn, options="-c search_path=app")
    with connect(own_dsn) as own:
        own.execute(gte_pg(own_dsn, "init", "--print-sql").encode())
        assert own.execute("SELECT to_regclass('gte.embedding') IS NOT NULL").fetchone() == (True,)


PARTITIONED = """
CREATE TABLE articles (id bigint PRIMARY KEY, title text) PARTITION BY HASH (id);
CREATE TABLE articles_0 PARTITION OF articles FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE articles_1 PARTITION OF articles FOR VALUES WITH (MODULUS 2, REMAINDER 1);
"""


def run_printed_builds(dsn: str, connection: Connection) -> str:
    """Run what sync prints that is no worker's alone; all that it prints."""
    warning, _, printed = gte_pg(dsn, "sync", "--print-sql").partition("\n")
    assert warning == "-- To be read: for each %(name)s a worker binds a value."
    for statement in printed.split(";\n"):
        if "%(" not in statement and " INDEX " in statement:
            connection.execute(statement.encode())
    return printed


@pytest.mark.parametrize("table", [ARTICLES, PARTITIONED])
def test_printed_indexes_can_be_built_also_where_a_build_was_cancelled(
    dsn: str, connection: Connection, model: str, table: str
) -> None:
    connection.execute(table.encode())
    connection.execute("INSERT INTO articles VALUES (1, 'cat'), (2, 'database')")
    added = gte_pg(dsn, "add", "articles", "--source", "title", "--model", model, "--print-sql")
    transaction, rest = added.split("COMMIT;\n")
    connection.execute(transaction.encode() + b"COMMIT")
    connection.execute(rest.replace("-- ", "").partition("\n")[2].encode())
    registered = load(connection, "articles")
    list(Worker(connection, registered, declared_encoder(registered.declaration)).rounds())
    for cancelled in (False, True):
        if cancelled:
            connection.execute("""
                UPDATE pg_index SET indisvalid = false FROM pg_class AS c
                WHERE c.oid = indexrelid AND relname LIKE 'articles_embedding_%'
            """)
        assert run_printed_builds(dsn, connection).count("\nDROP INDEX") == (3 if cancelled else 0)
        assert missing_search_indexes(connection, registered.declaration) == []
        assert " INDEX " not in gte_pg(dsn, "sync", "--print-sql")


def test_what_a_cancelled_build_has_left_of_a_partition_is_dropped_too(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(PARTITIONED.encode())
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    dense = search_indexes(registered.declaration)[0]
    connection.execute(
        sql.SQL("CREATE INDEX left_over ON articles_0 USING {}").format(dense.definition)
    )
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'left_over'::regclass"
    )
    run_printed_builds(dsn, connection)
    assert missing_search_indexes(connection, registered.declaration) == []


def test_the_index_that_somebody_is_building_is_no_leftover(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    add_embedding(dsn, connection, "articles", ("title",), model)
    with index_being_built(connection, "articles"):
        assert " INDEX " not in gte_pg(dsn, "sync", "--print-sql")


def test_a_printed_companion_says_whose_the_keys_are(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(ARTICLES)
    add = ("add", "articles", "--source", "title", "--model", model, "--layout", "companion")
    assert "gte-pg sync's: the keys" in gte_pg(dsn, *add, "--print-sql").splitlines()[-1]


def test_a_worker_s_statements_are_printed(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(ARTICLES)
    gte_pg(dsn, "add", "articles", "--source", "title", "--model", model)
    printed = gte_pg(dsn, "sync", "--print-sql")
    for word in ("FOR NO KEY UPDATE", "SKIP LOCKED", "INSERT INTO gte.lease", "USING hnsw"):
        assert word in printed
    assert gte_pg(dsn, "retry", "articles", "7", "--print-sql").count("UPDATE gte.failure") == 1


def test_what_check_and_repair_would_do_is_printed(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'a cat'), (2, 'a dog')")
    articles = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, articles)
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute("UPDATE articles SET title = 'a bird' WHERE id = 2")
    check = gte_pg(dsn, "sync", "--check", "--print-sql")
    assert connection.execute(check.encode()).fetchall() == [("2",)]
    anew, find, _ = gte_pg(dsn, "sync", "--repair", "--print-sql").partition(check)
    connection.execute(anew.encode())
    assert (missing_triggers(connection, articles), count_broken(connection, articles)) == ([], 1)
    repair = gte_pg(dsn, "sync", "--repair", "--print-sql")
    assert repair.startswith(find)
    assert "-- have them encoded again" in repair
    assert "INSERT INTO gte.lease" in repair
