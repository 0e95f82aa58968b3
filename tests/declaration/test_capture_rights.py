"""With whose rights triggers run, and what those who own a table or write to it can make of that."""

from __future__ import annotations

import psycopg
import pytest

from gte_pg.database import Connection
from gte_pg.declaration import Layout, OnChange
from gte_pg.install import remove_statements
from tests.roles import make_role
from tests.tables import add_embedding, broken_rows, drain


@pytest.mark.parametrize("layout", ["companion"])
@pytest.mark.parametrize(
    "made",
    [
        """
        DROP TABLE team.articles_embedding;
        CREATE TABLE team.articles_embedding (
            id bigint PRIMARY KEY, embedding text, embedding_sparse text, embedding_hash text,
            embedding_pending timestamptz, embedding_version int
        );
        CREATE TRIGGER say BEFORE INSERT ON team.articles_embedding
        FOR EACH ROW EXECUTE FUNCTION team.say()
        """,
        """
        ALTER TABLE team.articles RENAME title TO former;
        ALTER TABLE team.articles ADD title team.word
        """,
    ],
    ids=["in the place of the companion", "a cast"],
)
def test_a_table_owner_gets_no_rights_of_who_adds_an_embedding(
    dsn: str, connection: Connection, model: str, layout: Layout, made: str
) -> None:
    make_role(connection, "gte_pg_test_team")
    connection.execute("""
        CREATE SCHEMA team AUTHORIZATION gte_pg_test_team;
        SET ROLE gte_pg_test_team;
        CREATE TABLE team.articles (id bigint PRIMARY KEY, title text);
        CREATE FUNCTION team.who() RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'called as %', current_user; END $$;
        CREATE FUNCTION team.say() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM team.who(); END $$;
        CREATE TYPE team.word AS ENUM ('cat');
        CREATE FUNCTION team.say(team.word) RETURNS text LANGUAGE plpgsql AS
            $$ BEGIN RETURN team.who(); END $$;
        CREATE CAST (team.word AS text) WITH FUNCTION team.say(team.word);
        RESET ROLE;
    """)
    add_embedding(dsn, connection, "team.articles", ("title",), model, layout=layout)
    connection.execute("SET ROLE gte_pg_test_team")
    connection.execute(made.encode())
    with pytest.raises(psycopg.errors.RaiseException, match="called as gte_pg_test_team"):
        connection.execute("INSERT INTO team.articles (id, title) VALUES (1, 'cat')")


@pytest.mark.parametrize("layout", ["companion"])
@pytest.mark.parametrize("on_change", ["clear", "keep"])
def test_no_row_is_lost_where_policies_hide_rows_from_the_owner_too(
    dsn: str, connection: Connection, model: str, layout: Layout, on_change: OnChange
) -> None:
    for role in ("owner", "application"):
        make_role(connection, f"gte_pg_test_{role}")
    connection.execute("""
        CREATE TABLE notes (id int PRIMARY KEY DEFERRABLE, title text);
        ALTER TABLE notes OWNER TO gte_pg_test_owner;
        GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO gte_pg_test_application;
        ALTER TABLE notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY all_rows ON notes TO gte_pg_test_application USING (true);
        INSERT INTO notes SELECT n, 'title ' || n FROM generate_series(1, 5) AS n;
    """)
    notes = add_embedding(
        dsn, connection, "notes", ("title",), model, layout=layout, on_change=on_change
    )
    drain(connection, notes)
    connection.execute("SET ROLE gte_pg_test_application")
    connection.execute("UPDATE notes SET id = id + 1")
    connection.execute("DELETE FROM notes WHERE id = 3")
    connection.execute("RESET ROLE")
    drain(connection, notes)
    connection.execute("SET ROLE gte_pg_test_application")
    connection.execute("DELETE FROM notes WHERE id = 5")
    connection.execute("RESET ROLE")
    assert broken_rows(connection, notes.declaration) == 0
    keys = connection.execute("SELECT array_agg(id ORDER BY id) FROM notes_embedding").fetchone()
    assert keys == ([2, 4, 6],)


def test_functions_that_match_better_than_those_of_postgres_are_not_called(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    """Whoever may make functions in a schema of the search path does not write in everybody's name."""
    make_role(connection, "gte_pg_test_owner")
    taken = [
        ("num_nonnulls(text)", "int"),
        ("num_nonnulls(text, text)", "int"),
        ("num_nonnulls(vector, sparsevec)", "int"),
        ("num_nonnulls(vector, sparsevec, bytea)", "int"),
        ("concat_ws(text, text, text)", "text"),
        ("convert_to(text, text)", "bytea"),
        ("pg_column_toast_chunk_id(text)", "oid"),
        ("format(text, name)", "text"),
        ("format(text, name, regclass)", "text"),
        ("format(text, regclass, name)", "text"),
        ("format(text, regprocedure, name)", "text"),
        ("format(text, regprocedure)", "text"),
        ("differ(varchar, varchar)", "boolean"),
    ]
    for signature, kind in taken:
        connection.execute(
            f"CREATE FUNCTION public.{signature} RETURNS {kind} LANGUAGE plpgsql IMMUTABLE AS "
            f"$$ BEGIN RAISE 'called as %', current_user; END $$".encode()
        )
    connection.execute("""
        CREATE OPERATOR public.<> (LEFTARG = varchar, RIGHTARG = varchar, PROCEDURE = public.differ);
        CREATE TABLE notes (id varchar(9) PRIMARY KEY, title text, body text);
        ALTER TABLE notes OWNER TO gte_pg_test_owner;
    """)
    notes = add_embedding(dsn, connection, "notes", ("title", "body"), model, layout=layout)
    connection.execute("INSERT INTO notes VALUES ('a', 'cat'), ('b', NULL)")
    assert drain(connection, notes).encoded == 1
    connection.execute("UPDATE notes SET id = 'c', title = 'dog' WHERE id = 'a'")
    assert drain(connection, notes).encoded == 1
    assert broken_rows(connection, notes.declaration) == 0
    for statement in remove_statements(notes.declaration):
        connection.execute(statement)
