"""The indexes of partitioned tables, whose applications are not held up while they are put together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from click.testing import CliRunner
from psycopg import sql

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load
from gte_pg.declaration import object_name, search_indexes
from gte_pg.errors import DatabaseError
from gte_pg.sync.giving_way import briefly
from gte_pg.sync.indexes import build_index, missing_search_indexes
from tests.tables import add_embedding, drain

_NESTED = """
CREATE TABLE articles (id int PRIMARY KEY, title text, likes int DEFAULT 0) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF articles FOR VALUES FROM (0) TO (10) PARTITION BY HASH (id);
CREATE TABLE low_0 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE low_1 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE high PARTITION OF articles FOR VALUES FROM (10) TO (20);
INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 15) AS n;
"""


@pytest.fixture
def nested(dsn: str, connection: Connection, model: str) -> Registered:
    connection.execute(_NESTED)
    return add_embedding(dsn, connection, "articles", ("title",), model)


def test_a_partitioned_table_is_indexed_leaf_by_leaf(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("""
        CREATE TABLE parts (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (11);
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (11) TO (100) PARTITION BY RANGE (id);
        CREATE TABLE parts_2a PARTITION OF parts_2 FOR VALUES FROM (11) TO (50);
        INSERT INTO parts SELECT n, 'body ' || n FROM generate_series(1, 30) n;
    """)
    parts = add_embedding(dsn, connection, "parts", ("body",), model)
    assert drain(connection, parts).encoded == 30
    assert missing_search_indexes(connection, parts.declaration) == []
    connection.execute("CREATE TABLE parts_2b PARTITION OF parts_2 FOR VALUES FROM (50) TO (100)")
    assert missing_search_indexes(connection, parts.declaration) == []
    # A build that stopped half way: one leaf is not there yet.
    connection.execute("DROP INDEX parts_embedding_dense")
    connection.execute(
        "CREATE INDEX parts_embedding_dense ON ONLY parts "
        f"USING hnsw ((embedding::halfvec({parts.declaration.dimensions})) halfvec_ip_ops)".encode()
    )
    assert [index.method for index in missing_search_indexes(connection, parts.declaration)] == [
        "hnsw"
    ]
    drain(connection, parts)
    assert missing_search_indexes(connection, parts.declaration) == []


def test_a_foreign_index_with_the_name_of_a_partition_s_is_named(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute("""
        CREATE TABLE parts (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (11);
        CREATE TABLE elsewhere (id int);
        INSERT INTO parts VALUES (1, 'one');
    """)
    parts = add_embedding(dsn, connection, "parts", ("body",), model)
    name = object_name("parts_1", "embedding", f"{parts.id}_hnsw")
    connection.execute(f"CREATE INDEX {name} ON elsewhere (id)".encode())
    with pytest.raises(DatabaseError, match="something else has that name. Rename it"):
        drain(connection, parts)
    connection.execute(f"ALTER INDEX {name} RENAME TO mine".encode())
    drain(connection, parts)
    assert missing_search_indexes(connection, parts.declaration) == []


def test_a_partitioned_table_gets_another_dense_index(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute(
        "CREATE TABLE articles (id int PRIMARY KEY, title text) PARTITION BY RANGE (id); "
        "CREATE TABLE low PARTITION OF articles FOR VALUES FROM (0) TO (10) PARTITION BY HASH (id); "
        "CREATE TABLE low_0 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 0); "
        "CREATE TABLE low_1 PARTITION OF low FOR VALUES WITH (MODULUS 2, REMAINDER 1); "
        "CREATE TABLE high PARTITION OF articles FOR VALUES FROM (10) TO (20); "
        "INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 15) AS n"
    )
    registered = add_embedding(dsn, connection, "articles", ("title",), model)
    drain(connection, registered)
    held = (
        "SELECT count(*), min(a.atttypmod), max(a.atttypmod) FROM pg_index AS i "
        "JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam "
        "JOIN pg_attribute AS a ON a.attrelid = i.indexrelid WHERE m.amname = 'hnsw' AND i.indisvalid"
    )
    assert connection.execute(held).fetchone() == (5, 64, 64)
    for dimensions in ("32", "0"):
        alter = ["alter", "articles", "--index-dimensions", dimensions, "--dsn", dsn]
        assert CliRunner().invoke(main, alter).exit_code == 0
        registered = load(connection, "articles")
        if dimensions == "0":
            # A build of the former kind was cancelled half-way.
            connection.execute("DROP INDEX articles_embedding_dense")
            connection.execute(
                f"CREATE INDEX low_0_embedding_{registered.id}_hnsw ON low_0 USING hnsw "
                "((subvector(embedding, 1, 32)::halfvec(32)) halfvec_ip_ops)".encode()
            )
        drain(connection, registered)
        expected = registered.declaration.indexed_dimensions
        assert connection.execute(held).fetchone() == (5, expected, expected)
        assert missing_search_indexes(connection, registered.declaration) == []


def test_an_application_is_neither_held_up_nor_ended(
    dsn: str, connection: Connection, nested: Registered
) -> None:
    """Its transaction has locks without which the parts of an index cannot be put together."""
    for index in search_indexes(nested.declaration):
        for leaf in ("low_0", "low_1", "high"):
            create = sql.SQL("CREATE INDEX {} ON {} USING {}")
            name = object_name(leaf, "embedding", f"{nested.id}_{index.method}")
            connection.execute(
                create.format(sql.Identifier(name), sql.Identifier(leaf), index.definition)
            )

    def build() -> None:
        with connect(dsn) as own:
            for index in search_indexes(nested.declaration):
                assert build_index(own, nested, index)

    builder = threading.Thread(target=build)
    with connect(dsn) as application:
        application.execute("BEGIN; UPDATE low_1 SET likes = 1; UPDATE high SET likes = 1")
        builder.start()
        connection.execute("SET lock_timeout = '900ms'")
        until = time.monotonic() + 3
        while time.monotonic() < until:
            connection.execute("INSERT INTO articles VALUES (0, 'zero'), (19, 'nineteen')")
            connection.execute("DELETE FROM articles WHERE id IN (0, 19)")
            time.sleep(0.01)
        assert builder.is_alive()
        application.execute("UPDATE articles SET likes = 2 WHERE id = 1")
        application.execute("COMMIT")
    builder.join()
    assert missing_search_indexes(connection, nested.declaration) == []


def test_a_second_switch_leaves_the_indexes_of_the_first_alone(
    dsn: str, connection: Connection, nested: Registered, plain_model: str
) -> None:
    def gte_pg(*arguments: str) -> None:
        done = CliRunner().invoke(main, [*arguments, "--dsn", dsn])
        assert done.exit_code == 0, done.output

    drain(connection, nested)
    for model in (plain_model, nested.declaration.model):
        gte_pg("switch", "articles", "--model", model)
        gte_pg("remove", "articles", "--name", "embedding_previous")
    ours = (
        "SELECT count(*), bool_and(indisvalid) FROM pg_index WHERE NOT indisprimary "
        "AND indrelid IN (SELECT relid FROM pg_partition_tree('articles'))"
    )
    assert connection.execute(ours).fetchone() == (3 * 5, True)
    drain(connection, load(connection, "articles"))


@pytest.mark.parametrize("moment", ["CREATE INDEX", "ALTER INDEX"])
def test_a_partition_that_comes_meanwhile_has_its_index_of_postgres(
    connection: Connection, nested: Registered, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    class Killed(BaseException):
        pass

    def come(connection: Connection, work: Callable[[], object]) -> None:
        """Half-way, at the highest node, a partition comes, and the builder dies."""
        statement = str(work.args[0].as_string(connection))  # type: ignore[attr-defined]
        if moment in statement and '"articles_embedding_dense"' in statement:
            connection.execute(
                "CREATE TABLE high_2 PARTITION OF articles FOR VALUES FROM (20) TO (30)"
            )
            raise Killed
        briefly(connection, work)

    connection.execute("ALTER TABLE low DETACH PARTITION low_1")
    dense = search_indexes(nested.declaration)[0]
    with monkeypatch.context() as patched:
        patched.setattr("gte_pg.sync.partitioned_index.briefly", come)
        with pytest.raises(Killed):
            build_index(connection, nested, dense)
    connection.execute(
        "ALTER TABLE low ATTACH PARTITION low_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)"
    )
    assert build_index(connection, nested, dense)
    held = "SELECT count(*), count(DISTINCT indrelid), bool_and(indisvalid) FROM pg_index AS i "
    hnsw = (
        "JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam "
        "WHERE m.amname = 'hnsw'"
    )
    assert connection.execute((held + hnsw).encode()).fetchone() == (6, 6, True)
