"""The benchmark's table: rows, vectors and search indexes as `gte-pg add` and `gte-pg sync` make them.

The vectors are written past the triggers, which would otherwise ask for the hash of every text.
"""

from __future__ import annotations

import time

from psycopg import sql
from vectors import Vectors

from gte_pg.database import (
    Connection,
    Registered,
    connect,
    engine,
    ensure_schema,
    find_table,
    load,
    postgres_version,
    run,
)
from gte_pg.database.binary import adapt_binary_arrays, sparse_array, vector_array, vector_type
from gte_pg.declaration import Declaration, Layout, Storage
from gte_pg.install import add_statements
from gte_pg.sync.indexes import build_index, missing_search_indexes
from gte_pg.sync.key_frequencies import refresh_key_frequencies

_CHUNK = 2_000


def make_table(
    dsn: str,
    rows: Vectors,
    *,
    storage: Storage,
    layout: Layout,
    index_dimensions: int | None = None,
    impact_step: float,
    name: str = "articles",
) -> tuple[Registered, dict[str, float]]:
    """Fill a table called `name`; return its embedding and the seconds that each index took to build."""
    with connect(dsn) as connection:
        connection.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, text text)".encode())
        table = find_table(connection, name)
        declaration = Declaration(
            schema=table.schema,
            table=table.name,
            key=table.key,
            source=("text",),
            name="embedding",
            model="benchmark",
            generation=f"benchmark/float32/{rows.dense.shape[1]}",
            dimensions=rows.dense.shape[1],
            sparse_dimensions=rows.sparse.dimensions,
            storage=storage,
            impact_step=impact_step,
            companion=(table.schema, f"{name}_embedding") if layout == "companion" else None,
            index_dimensions=index_dimensions,
        )
        with engine(dsn).begin() as transaction:
            ensure_schema(transaction)
            for statement in add_statements(declaration, postgres=postgres_version(transaction)):
                run(transaction, statement)
        registered = load(connection, name)
        _fill(connection, declaration, rows)
        seconds = {}
        for index in missing_search_indexes(connection, declaration):
            started = time.perf_counter()
            build_index(connection, registered, index)
            seconds[index.name] = time.perf_counter() - started
        refresh_key_frequencies(connection, registered)
        # CREATE TABLE leaves no visibility map, and an autovacuum would come into the measurement.
        connection.execute("VACUUM ANALYZE")
    return registered, seconds


def _fill(connection: Connection, declaration: Declaration, rows: Vectors) -> None:
    adapt_binary_arrays(connection)
    dense_oid = vector_type(connection, declaration.storage).oid
    sparse_oid = vector_type(connection, "sparsevec").oid
    kinds = f"%(dense)b::{declaration.storage}[], %(sparse)b::sparsevec[]"
    read = (
        f"FROM unnest(%(ids)s::bigint[], %(texts)s::text[], {kinds}) AS r (id, text, dense, sparse)"
    )
    embedding = "embedding, embedding_sparse, embedding_pending"
    if declaration.companion is None:
        inserts = [
            (declaration.relation, f"id, text, {embedding}", "id, text, dense, sparse, NULL")
        ]
    else:
        inserts = [
            (declaration.relation, "id, text", "id, text"),
            (declaration.vectors, f"id, {embedding}", "id, dense, sparse, NULL"),
        ]
    with connection.transaction():
        disable = sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(declaration.relation)
        connection.execute(disable)
        for start in range(0, len(rows.texts), _CHUNK):
            stop = min(start + _CHUNK, len(rows.texts))
            values = {
                "ids": list(range(start, stop)),
                "texts": rows.texts[start:stop],
                "dense": vector_array(
                    rows.dense[start:stop], dense_oid, half=declaration.storage == "halfvec"
                ),
                "sparse": sparse_array(rows.sparse, start, stop, sparse_oid),
            }
            for table, columns, chosen in inserts:
                insert = f"INSERT INTO {table.as_string()} ({columns}) SELECT {chosen} {read}"
                connection.execute(insert.encode(), values)
