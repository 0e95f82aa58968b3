from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from gte_pg.database import Connection, connect, fill
from gte_pg.declaration import renamed, row_is_empty, row_text, written_text
from gte_pg.errors import DeclarationError
from tests.declaration.test_text import DECLARATION

FIRST, SECOND = DECLARATION.source

PARTS = st.sampled_from(
    [f"{{{FIRST}}}", f"{{{SECOND}}}", " by ", "\n", "{{", "}}", "'", "%s", "\\", "é"]
)
VALUES = st.none() | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5
)


@pytest.fixture(scope="module")
def database(server: str) -> Iterator[Connection]:
    with connect(server) as connection:
        yield connection


@settings(max_examples=300, deadline=None)
@given(template=st.lists(PARTS, max_size=8).map("".join), first=VALUES, second=VALUES)
def test_sql_and_python_write_the_same_text(
    database: Connection, template: str, first: str | None, second: str | None
) -> None:
    template = f"{template}{{{FIRST}}}\n{{{SECOND}}}"
    declaration = replace(DECLARATION, template=template)
    statement = sql.SQL("SELECT {text}, {empty} FROM (SELECT %s::text AS a, %s::text AS {b}) AS d")
    composed = fill(
        statement,
        text=row_text(declaration, "d"),
        empty=row_is_empty(declaration, "d"),
        b=sql.Identifier(SECOND),
    )
    text = written_text(declaration, {FIRST: first, SECOND: second})
    assert database.execute(composed, (first, second)).fetchone() == (text, text is None)


def test_a_line_without_its_columns_is_left_out() -> None:
    declaration = replace(
        DECLARATION, source=("title", "author"), template="{title}\nby {author}\n{{fine}}"
    )
    assert written_text(declaration, {"title": "T", "author": "A"}) == "T\nby A\n{fine}"
    assert written_text(declaration, {"title": "T", "author": ""}) == "T\n{fine}"
    assert written_text(declaration, {"title": None, "author": ""}) is None


def test_columns_are_renamed_where_they_stand_in_braces() -> None:
    assert renamed("{a} a {{a}} {b}", str.upper) == "{A} a {{a}} {B}"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{a} {", "brace at character 5"),
        ("{a} }", "brace at character 5"),
        ("{a} {}", "brace at character 5"),
        ("no column", "names no column"),
        ("{other}", "made of other"),
    ],
)
def test_what_is_wrong_with_a_template_is_said(template: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        replace(DECLARATION, template=template)


def test_a_text_is_a_template_or_an_expression() -> None:
    with pytest.raises(DeclarationError, match="the one or the other"):
        replace(DECLARATION, source=("a",), template="{a}", expression="{a}")
