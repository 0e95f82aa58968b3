"""The text of a row by a template and by an expression: captured, encoded, compared, in both layouts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from gte_pg.database import Connection
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder
from gte_pg.errors import DeclarationError
from tests.tables import add_embedding, broken_rows, drain

WAYS = {
    "template": "{title}\n({year}) by {author}",
    "expression": "{title} || coalesce(E'\\n(' || {year}::text || ') by ' || {author}, '')",
}


@pytest.mark.parametrize("layout", ["columns", "companion"])
@pytest.mark.parametrize("way", list(WAYS))
def test_the_text_is_what_was_asked_for(
    dsn: str, connection: Connection, model: str, encoder: Encoder, way: str, layout: Layout
) -> None:
    connection.execute(
        "CREATE TABLE articles (id int PRIMARY KEY, title text, author text, year int, likes int)"
    )
    connection.execute(
        "INSERT INTO articles VALUES (1, 'Dune', 'Herbert', 1965), (2, 'Beowulf', NULL, NULL), "
        "(3, NULL, NULL, NULL)"
    )
    written: Any = {way: WAYS[way]}
    registered = add_embedding(dsn, connection, "articles", (), model, layout=layout, **written)
    declaration = registered.declaration
    assert declaration.source == ("title", "year", "author")
    assert drain(connection, registered).encoded == 2
    assert broken_rows(connection, declaration) == 0
    vectors = declaration.vectors.as_string()
    stored = connection.execute(
        f"SELECT embedding::text FROM {vectors} WHERE embedding IS NOT NULL ORDER BY id".encode()
    ).fetchall()
    expected = encoder.encode(["Dune\n(1965) by Herbert", "Beowulf"]).dense
    for (vector,), dense in zip(stored, expected, strict=True):
        assert [float(value) for value in vector.strip("[]").split(",")] == pytest.approx(
            dense.tolist(), abs=1e-5
        )
    pending = f"SELECT id FROM {vectors} WHERE embedding_pending IS NOT NULL".encode()
    connection.execute("UPDATE articles SET likes = 1")
    assert connection.execute(pending).fetchall() == []
    connection.execute("UPDATE articles SET year = 1966 WHERE id = 1")
    assert connection.execute(pending).fetchall() == [(1,)]
    connection.execute("UPDATE articles SET title = NULL, author = NULL, year = NULL")
    assert connection.execute(pending).fetchall() == []
    assert broken_rows(connection, declaration) == 0


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_template_may_hold_anything(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
    template = "$body$ $body_$ 100 % 'of' \\n {{{name}}} -- /* ;"
    registered = add_embedding(
        dsn, connection, "people", (), model, template=template, layout=layout
    )
    connection.execute("INSERT INTO people VALUES (1, 'Ada'), (2, NULL)")
    connection.execute("UPDATE people SET name = name || ' Lovelace'")
    assert drain(connection, registered).encoded == 1
    assert broken_rows(connection, registered.declaration) == 0


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"source": ("born",)}, "has the type date, whose text depends on settings"),
        ({"template": "{title} {born}"}, "extract.year from {born}"),
        ({"source": ("title", "share")}, r"depends on settings.*{share}::numeric::text"),
        ({"source": ("digest",)}, r"depends on settings.*encode\({digest}, 'hex'\)"),
        ({"source": ("title", "tags")}, r"has the type text\[\], and there are many ways"),
        ({"source": ("upper",)}, "is generated"),
        ({"expression": "upper({upper})"}, "is generated"),
        ({"expression": "{title} || {born}::text"}, "not immutable"),
        ({"expression": "{title} || now()"}, "not immutable"),
        ({"expression": "{title} ||"}, "syntax error"),
        ({"expression": "(SELECT min({title}) FROM people)"}, "subquery"),
        ({"expression": "{title}) STORED, x text DEFAULT ("}, "syntax error"),
        ({"expression": "shout({title})"}, r"shout\(text\) does not exist.*with its schema"),
        ({"expression": "title"}, "names no column"),
        ({"expression": "{title} || id::text"}, 'column "id" does not exist'),
        ({"expression": "{titel}"}, "has no column 'titel'"),
        ({"template": "{title} {titel}"}, "has no column 'titel'"),
    ],
)
def test_text_that_is_not_the_rows_alone_is_refused(
    dsn: str, connection: Connection, model: str, written: dict[str, str], message: str
) -> None:
    connection.execute(
        "CREATE TABLE people (id int PRIMARY KEY, title text, born date, tags text[], "
        "share float8, digest bytea, "
        "upper text GENERATED ALWAYS AS (upper(title)) STORED);"
        "CREATE FUNCTION shout(text) RETURNS text IMMUTABLE RETURN upper($1) || '!'"
    )
    asked: dict[str, Any] = {"source": (), "model": model} | written
    with pytest.raises(DeclarationError, match=message):
        add_embedding(dsn, connection, "people", **asked)
    assert connection.execute(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 'people'::regclass AND attnum > 0"
    ).fetchone() == (7,)


@pytest.mark.parametrize(
    "kind", ["date", "timestamp", "timestamptz", "interval", "bytea", "real", "float8"]
)
def test_the_expression_that_is_proposed_is_accepted(
    dsn: str, connection: Connection, model: str, kind: str
) -> None:
    connection.execute(f"CREATE TABLE people (id int PRIMARY KEY, value {kind})".encode())
    with pytest.raises(DeclarationError) as refused:
        add_embedding(dsn, connection, "people", ("value",), model)
    _, _, proposed = str(refused.value).rpartition("that does not: ")
    registered = add_embedding(dsn, connection, "people", (), model, expression=proposed)
    assert registered.declaration.source == ("value",)


def test_an_expression_may_say_what_a_date_is_called(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
    connection.execute("CREATE TABLE people (id int PRIMARY KEY, name text, born date, mood mood)")
    connection.execute("INSERT INTO people VALUES (1, 'Ada', '1815-12-10', 'happy')")
    registered = add_embedding(
        dsn,
        connection,
        "people",
        (),
        model,
        expression="{name} || ' was born in ' || extract(year from {born})::int::text",
    )
    moods = add_embedding(dsn, connection, "people", ("name", "mood"), model, name="moods")
    for embedding in (registered, moods):
        assert drain(connection, embedding).encoded == 1
    connection.execute("SET datestyle = 'German'")
    connection.execute("UPDATE people SET born = born + 1, mood = 'sad'")
    assert connection.execute(
        "SELECT embedding IS NOT NULL, moods IS NULL FROM people"
    ).fetchall() == [(True, True)]


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_an_expression_may_call_a_function_of_the_application_s(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute("CREATE TABLE people (id int PRIMARY KEY, name text)")
    connection.execute(
        "CREATE FUNCTION shout(text) RETURNS text IMMUTABLE RETURN nullif(upper($1) || '!', '!')"
    )
    registered = add_embedding(
        dsn, connection, "people", (), model, expression="public.shout({name})", layout=layout
    )
    connection.execute("SET search_path = pg_temp")
    connection.execute("INSERT INTO public.people VALUES (1, 'Ada'), (2, ''), (3, NULL)")
    connection.execute("UPDATE public.people SET name = 'Grace' WHERE id = 1")
    connection.execute("RESET search_path")
    assert drain(connection, registered).encoded == 1
    assert broken_rows(connection, registered.declaration) == 0
    connection.execute("UPDATE people SET name = 'grace' WHERE id = 1")
    assert drain(connection, registered).encoded == (1 if layout == "companion" else 0)


def test_an_array_is_joined_as_the_error_says(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute("CREATE TABLE people (id int PRIMARY KEY, names text[])")
    connection.execute("INSERT INTO people VALUES (1, '{Ada,Augusta}'), (2, '{}'), (3, NULL)")
    with pytest.raises(DeclarationError) as refused:
        add_embedding(dsn, connection, "people", ("names",), model, layout=layout)
    advice = re.search(r"does: (.*), and use the expression (.*)", str(refused.value))
    assert advice is not None
    connection.execute(advice[1].encode())
    registered = add_embedding(
        dsn, connection, "people", (), model, expression=advice[2], layout=layout
    )
    assert drain(connection, registered).encoded == 1
    connection.execute("UPDATE people SET names = names || 'King'::text")
    assert drain(connection, registered).encoded == 3
    assert broken_rows(connection, registered.declaration) == 0


def test_a_companion_for_keys_of_a_foreign_type_is_refused(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("""
        CREATE TYPE ticket;
        CREATE FUNCTION ticket_in(cstring) RETURNS ticket STRICT IMMUTABLE LANGUAGE internal AS 'int4in';
        CREATE FUNCTION ticket_out(ticket) RETURNS cstring STRICT IMMUTABLE LANGUAGE internal AS 'int4out';
        CREATE TYPE ticket (INPUT = ticket_in, OUTPUT = ticket_out, LIKE = int4);
        CREATE FUNCTION compare(ticket, ticket) RETURNS int IMMUTABLE LANGUAGE internal AS 'btint4cmp';
        CREATE FUNCTION is_same(ticket, ticket) RETURNS bool IMMUTABLE LANGUAGE internal AS 'int4eq';
        CREATE FUNCTION is_less(ticket, ticket) RETURNS bool IMMUTABLE LANGUAGE internal AS 'int4lt';
        CREATE FUNCTION is_more(ticket, ticket) RETURNS bool IMMUTABLE LANGUAGE internal AS 'int4gt';
        CREATE OPERATOR > (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = is_more);
        CREATE OPERATOR = (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = is_same, MERGES);
        CREATE OPERATOR < (LEFTARG = ticket, RIGHTARG = ticket, FUNCTION = is_less);
        CREATE OPERATOR CLASS ticket_ops DEFAULT FOR TYPE ticket USING btree AS
            OPERATOR 1 <, OPERATOR 3 =, OPERATOR 5 >, FUNCTION 1 compare(ticket, ticket);
        CREATE TABLE tickets (id ticket PRIMARY KEY, body text);
    """)
    with pytest.raises(DeclarationError, match="'id' of .* is a ticket.*Use the layout columns"):
        add_embedding(dsn, connection, "tickets", ("body",), model, layout="companion")
    tickets = add_embedding(dsn, connection, "tickets", ("body",), model)
    connection.execute("INSERT INTO tickets VALUES ('1', 'one'), ('2', 'two')")
    assert drain(connection, tickets).encoded == 2
