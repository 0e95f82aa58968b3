from __future__ import annotations

import pytest
from psycopg import sql

from gte_pg.database import Connection
from gte_pg.declaration import Declaration, KeyColumn, join_texts, row_hash, row_text, text_hash

DECLARATION = Declaration(
    schema=None,
    table="t",
    key=(KeyColumn("id", "int"),),
    source=("a", 'b"%s'),
    name="embedding",
    model="m",
    generation="m@1/float32/4",
    dimensions=4,
    sparse_dimensions=None,
)

TEXTS = [
    None,
    "",
    " ",
    "\n",
    "word",
    "two\nlines",
    "Ünïcödé 数据库 🙂 שלום",
    "a'b\\c",
    "x" * 100_000,
]


@pytest.mark.parametrize("second", [None, "", "second"])
def test_sql_and_python_make_the_same_text_and_hash(
    connection: Connection, second: str | None
) -> None:
    statement = sql.SQL('SELECT {}, {} FROM (SELECT %s::text AS a, %s::text AS "b""%%s") AS d')
    composed = statement.format(
        *(
            sql.SQL(part.as_string().replace("%", "%%"))
            for part in (row_text(DECLARATION, "d"), row_hash(DECLARATION, "d"))
        )
    )
    for first in TEXTS:
        expected = join_texts([first, second])
        found = connection.execute(composed, (first, second)).fetchone()
        digest = None if expected is None else text_hash(DECLARATION.generation, expected)
        assert found == (expected, digest)


def test_the_hash_tells_generations_apart() -> None:
    assert text_hash("m@1/float32/4", "text") != text_hash("m@2/float32/4", "text")
