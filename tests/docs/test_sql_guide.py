"""docs/sql.md: its statements run, and it names every argument that the functions have."""

from __future__ import annotations

import re
from pathlib import Path

from gte_pg.database import Connection
from gte_pg.encoder import Encoder
from gte_pg.search import encode_query
from tests.tables import ARTICLES, add_embedding, drain

GUIDE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")


def statements() -> list[str]:
    """Return the SQL of the guide, and of the programs in it, with psycopg's placeholders."""
    found = re.findall(r"```sql\n(.*?)```", GUIDE, re.DOTALL)
    found += [written for _, written in re.findall(r"(\")(SELECT .*?)\"", GUIDE)]
    return [re.sub(r"\$\d|\?", "%s", statement) for statement in found]


def test_the_statements_find_the_row(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'cheap flights'), (2, 'beans')")
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, registered)
    query = encode_query(encoder, registered.declaration, "cheap flights")
    assert len(statements()) == 4
    for statement in statements():
        first, *_ = connection.execute(statement.encode(), (query.dense, query.sparse)).fetchall()
        assert first[0] in (1, "1", {"id": 1})


def test_every_argument_is_named(connection: Connection) -> None:
    for function in ("search", "similar"):
        rows = connection.execute(
            "SELECT unnest(proargnames), unnest(proargmodes)::text FROM pg_proc "
            "WHERE pronamespace = 'gte'::regnamespace AND proname = %s",
            (function,),
        ).fetchall()
        for name, mode in rows:
            assert mode != "i" or re.search(rf"\b{name}\b", GUIDE), (function, name)
