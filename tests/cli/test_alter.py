"""gte-pg alter: another text, another choice, the same model; what is still right stays."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, connect, load, load_all
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.install import alter_statements
from gte_pg.sync import Worker, count_broken, missing_triggers
from tests.tables import ARTICLES, Interrupted, add_embedding, drain


def gte_pg(dsn: str, *arguments: str, fails: str = "") -> str:
    done: Any = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
    if fails:
        assert done.exit_code != 0
        assert fails in done.stderr
    else:
        assert done.exit_code == 0, done.output
    return str(done.stdout)


@pytest.fixture
def filled(dsn: str, connection: Connection, model: str, layout: Layout) -> Connection:
    connection.execute(ARTICLES)
    connection.execute(
        "INSERT INTO articles VALUES (1, 'a cat', 'on a mat'), (2, 'a dog', ''), (3, NULL, 'body'), "
        "(4, NULL, NULL)"
    )
    registered = add_embedding(dsn, connection, "articles", ("title", "body"), model, layout=layout)
    assert drain(connection, registered).encoded == 3
    return connection


def states(connection: Connection) -> tuple[int, int]:
    """How many rows have a vector, and how many are pending."""
    registered = load(connection, "articles")
    assert missing_triggers(connection, registered) == []
    assert count_broken(connection, registered) == 0
    vectors = registered.declaration.vectors.as_string()
    counts = f"SELECT count(embedding), count(embedding_pending) FROM {vectors}".encode()
    encoded, pending = connection.execute(counts).fetchone() or (0, 0)
    return encoded, pending


def test_other_source_columns(dsn: str, filled: Connection) -> None:
    gte_pg(dsn, "alter", "articles", "--source", "title")
    # The second row's text is the same without its empty body; the third has none any more.
    assert states(filled) == (1, 1)
    assert drain(filled, load(filled, "articles")).encoded == 1
    gte_pg(dsn, "alter", "articles", "--template", "{title}\n{body}", "--on-change", "keep")
    assert states(filled) == (2, 2)
    assert load(filled, "articles").declaration.source == ("title", "body")
    gte_pg(dsn, "alter", "articles", "--source", "title,body", "--on-change", "clear")
    # A vector that was kept is the one of a former text.
    assert states(filled) == (1, 2)
    gte_pg(dsn, "alter", "articles", "--expression", "coalesce({title}, {body})")
    drain(filled, load(filled, "articles"))
    assert states(filled) == (3, 0)


def test_what_was_kept_is_cleared_where_nothing_is_to_be_kept_any_more(
    dsn: str, filled: Connection
) -> None:
    gte_pg(dsn, "alter", "articles", "--on-change", "keep")
    assert states(filled) == (3, 0)
    filled.execute("UPDATE articles SET title = 'a bird' WHERE id <= 2")
    assert states(filled) == (3, 2)
    gte_pg(dsn, "alter", "articles", "--on-change", "clear")
    assert states(filled) == (1, 2)
    drain(filled, load(filled, "articles"))
    assert states(filled) == (3, 0)


def test_a_worker_that_has_read_another_text_writes_nothing(
    dsn: str, filled: Connection, encoder: Encoder
) -> None:
    filled.execute("UPDATE articles SET title = 'a bird', body = 'by the sea' WHERE id <= 2")
    filled.execute("INSERT INTO articles VALUES (5, '', '')")

    def alter_meanwhile(texts: list[str]) -> None:
        assert len(texts) == 2
        gte_pg(dsn, "alter", "articles", "--source", "body")

    with connect(dsn) as own:
        registered = load(own, "articles")
        worker = Worker(own, registered, Interrupted(encoder, alter_meanwhile))
        worker.round()
        # The third row's text is its body, as it was.
        assert states(filled) == (1, 2)
        # It has not heard of it yet.
        filled.execute("UPDATE articles SET title = NULL WHERE id = 1")
        Worker(own, registered, encoder).round()
        assert count_broken(filled, load(filled, "articles")) == 0
    drain(filled, load(filled, "articles"))
    assert states(filled) == (3, 0)


_LOCKED = """
CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF OLD.id = 2 THEN {}; END IF; RETURN NEW; END';
CREATE TRIGGER leave BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION leave()
"""


@pytest.mark.parametrize("layout", ["columns"])
@pytest.mark.parametrize(
    "what",
    [
        "RETURN NULL",
        "RETURN OLD",
        "NEW.embedding_pending := OLD.embedding_pending; NEW.embedding_hash := OLD.embedding_hash",
    ],
)
def test_a_row_whose_update_is_suppressed_keeps_no_former_vector(
    dsn: str, filled: Connection, what: str
) -> None:
    filled.execute(_LOCKED.format(what).encode())
    alter = ("alter", "articles", "--expression", "{title} || '!'")
    gte_pg(dsn, *alter, fails="the row with the key 2 of")
    assert load(filled, "articles").declaration.source == ("title", "body")
    assert states(filled) == (3, 0)
    filled.execute("ALTER TABLE articles DISABLE TRIGGER leave")
    gte_pg(dsn, *alter)
    assert states(filled) == (0, 2)


def test_no_other_column_changes(dsn: str, filled: Connection) -> None:
    filled.execute("""
        CREATE FUNCTION count_likes() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.likes := OLD.likes + 1; RETURN NEW; END';
        CREATE TRIGGER count_likes BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION count_likes()
    """)
    likes = "SELECT sum(likes) FROM articles"
    gte_pg(dsn, "alter", "articles", "--source", "body")
    assert (filled.execute(likes).fetchone(), states(filled)) == ((0,), (1, 1))
    printed = gte_pg(dsn, "alter", "articles", "--source", "title", "--print-sql")
    # A migration may go on in the same transaction.
    filled.execute(printed.replace("COMMIT;", "UPDATE articles SET title = 'x'; COMMIT;").encode())
    assert filled.execute(likes).fetchone() == (4,)


def test_rows_that_a_policy_hides_are_not_passed_over(filled: Connection) -> None:
    present = load(filled, "articles").declaration
    *_, mark = alter_statements(replace(present, source=("body",)), postgres=18)
    owner = f"gte_pg_test_owner_{os.getpid()}"
    filled.execute(f"CREATE ROLE {owner}".encode())
    try:
        for table in {"articles", present.vectors.as_string()}:
            filled.execute(f"ALTER TABLE {table} OWNER TO {owner}".encode())
        filled.execute("ALTER TABLE articles ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        filled.execute(f"SET ROLE {owner}".encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            filled.execute(mark)
    finally:
        filled.execute("RESET ROLE")
        filled.execute(f"REASSIGN OWNED BY {owner} TO current_user".encode())
        filled.execute(f"DROP OWNED BY {owner}".encode())
        filled.execute(f"DROP ROLE {owner}".encode())


def test_a_transaction_that_does_not_see_all_rows_alters_nothing(filled: Connection) -> None:
    present = load(filled, "articles").declaration
    *_, mark = alter_statements(replace(present, source=("body",)), postgres=18)
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
        filled.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ; " + mark.as_string().encode())


def test_a_renamed_source_column(dsn: str, filled: Connection) -> None:
    filled.execute("ALTER TABLE articles RENAME COLUMN title TO headline")
    for command in (
        ["sync"],
        ["search", "articles", "cat"],
        ["alter", "articles", "--on-change", "keep"],
    ):
        gte_pg(dsn, *command, fails="articles --name embedding --source COLUMN")
    filled.execute("UPDATE articles SET headline = 'the triggers have followed' WHERE id = 2")
    gte_pg(dsn, "alter", "articles", "--source", "headline,body")
    assert states(filled) == (2, 1)
    gte_pg(dsn, "sync")
    assert states(filled) == (3, 0)


def test_what_is_broken_can_be_removed(dsn: str, filled: Connection, layout: Layout) -> None:
    filled.execute("ALTER TABLE articles RENAME COLUMN title TO headline")
    if layout == "companion":
        filled.execute("DROP TABLE articles_embedding")
    gte_pg(dsn, "remove", "articles")
    assert load_all(filled) == []
    filled.execute("UPDATE articles SET headline = 'no trigger is left'")


def test_another_dense_index(dsn: str, filled: Connection) -> None:
    held = (
        "SELECT atttypmod FROM pg_attribute "
        "WHERE attrelid = 'articles_embedding_dense'::regclass AND attnum = 1"
    )
    gte_pg(dsn, "sync")
    assert filled.execute(held).fetchone() == (64,)
    gte_pg(dsn, "alter", "articles", "--index-dimensions", "32")
    gte_pg(dsn, "sync")
    assert filled.execute(held).fetchone() == (32,)
    assert states(filled) == (3, 0)
    gte_pg(dsn, "alter", "articles", "--index-dimensions", "0")
    gte_pg(dsn, "sync")
    assert filled.execute(held).fetchone() == (64,)


def test_another_dense_index_keeps_nobody_waiting(dsn: str, filled: Connection) -> None:
    with connect(dsn) as writer, writer.transaction():
        writer.execute("UPDATE articles SET title = 'a bird' WHERE id = 1")
        gte_pg(dsn, "alter", "articles", "--index-dimensions", "32")
    assert load(filled, "articles").declaration.index_dimensions == 32


@pytest.mark.parametrize("command", [["add", "--model", "gte-small"], ["alter"]])
def test_what_is_encoded_is_said_once(command: list[str]) -> None:
    both = ["articles", "--source", "title", "--template", "{body}"]
    gte_pg("dbname=x", *command, *both, fails="--source and --template are given")
    gte_pg("dbname=x", *command, "articles", fails="say what")


def test_what_cannot_be_is_refused(dsn: str, filled: Connection) -> None:
    gte_pg(dsn, "alter", "articles", "--source", "title", "--source", "body", fails="that already")
    gte_pg(dsn, "alter", "articles", "--source", "titel", fails="has no column 'titel'")
    gte_pg(dsn, "alter", "articles", "--template", "{title", fails="brace at character 1")
    gte_pg(dsn, "alter", "articles", "--expression", "{title} || now()", fails="not immutable")
    gte_pg(dsn, "alter", "articles", "--index-dimensions", "65", fails="1 to 64")
    assert states(filled) == (3, 0)
