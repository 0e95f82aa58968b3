"""A table that loses rows without a trigger: its companion keeps them, and no search finds them."""

from __future__ import annotations

import pytest

from gte_pg.database import Connection
from gte_pg.encoder import Encoder
from gte_pg.search import Weights, encode_query, search
from gte_pg.sync import count_broken, repair
from tests.search.articles import executed, plan_of
from tests.tables import add_embedding, drain


@pytest.mark.parametrize(
    "loss", ["TRUNCATE old", "DROP TABLE old", "ALTER TABLE notes DETACH PARTITION old"]
)
def test_rows_of_a_lost_partition_are_not_found(
    dsn: str, connection: Connection, model: str, encoder: Encoder, loss: str
) -> None:
    connection.execute("""
        CREATE TABLE notes (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
        CREATE TABLE old PARTITION OF notes FOR VALUES FROM (0) TO (100);
        CREATE TABLE new PARTITION OF notes FOR VALUES FROM (100) TO (200);
        INSERT INTO notes SELECT n, 'note ' || n % 100 FROM generate_series(0, 199) AS n;
    """)
    notes = add_embedding(dsn, connection, "notes", ("title",), model, layout="companion")
    drain(connection, notes)
    query = encode_query(encoder, notes.declaration, "note 7")

    def found() -> list[set[object]]:
        stored = connection.execute(
            "SELECT key FROM gte.search('notes', %s, %s, 50)", (query.dense, query.sparse)
        )
        return [
            {hit.key["id"] for hit in search(connection, notes, query, limit=50)},
            {hit.key["id"] for hit in search(connection, notes, query, limit=50, exact=True)},
            {key["id"] for (key,) in stored},
        ]

    assert all(len(ids) == 50 and ids & set(range(100)) for ids in found())
    connection.execute(loss.encode())
    assert all(len(ids) == 50 and not ids & set(range(100)) for ids in found())
    assert count_broken(connection, notes) == 100
    repair(connection, notes)
    assert count_broken(connection, notes) == 0


def test_a_search_reads_no_partition_as_a_whole(
    dsn: str, connection: Connection, model: str, encoder: Encoder
) -> None:
    connection.execute("""
        CREATE TABLE notes (id int PRIMARY KEY, title text) PARTITION BY HASH (id);
        CREATE TABLE even PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE odd PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 5000) AS n;
    """)
    notes = add_embedding(dsn, connection, "notes", ("title",), model, layout="companion")
    drain(connection, notes)
    connection.execute("VACUUM ANALYZE")
    query = encode_query(encoder, notes.declaration, "note 7")
    plan = plan_of(connection, notes, query, Weights())
    assert any(executed(plan, "Index Only Scan using even_pkey on even"))
    assert not any(executed(plan, "Seq Scan on even"))
