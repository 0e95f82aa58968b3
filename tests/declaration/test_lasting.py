"""A crash of the server empties UNLOGGED tables: one, but not its companion, would be half a loss."""

from __future__ import annotations

from gte_pg.database import Connection
from tests.tables import add_embedding


def test_a_companion_is_as_lasting_as_its_table(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("CREATE UNLOGGED TABLE notes (id int PRIMARY KEY, body text)")
    connection.execute("CREATE TABLE letters (id int PRIMARY KEY, body text)")
    found = []
    for table in ("notes", "letters"):
        one = add_embedding(dsn, connection, table, ("body",), model, layout="companion")
        lasting = "SELECT relpersistence::text FROM pg_class WHERE oid = %s::regclass"
        found.append(connection.execute(lasting, (one.declaration.vectors.as_string(),)).fetchone())
    assert found == [("u",), ("p",)]
