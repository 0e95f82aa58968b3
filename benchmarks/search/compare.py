"""Ways to search for the best hybrid score, side by side on the same table in one run.

    .venv/bin/python benchmarks/search/compare.py --descriptions ../shared/data/debian/packages.jsonl.xz \
        --work /tmp/search-benchmark --rows made --queries 100

The work folder keeps vectors, a Postgres and the tables; what is there is used again. Every query goes
to every way in turn. Recall is against the exact scan, ties counting as found; times are the CPU time
of the backend in ms. The last table is queries per second of several clients at once, of gte-pg alone.
With `--own` the table has gte-pg's indexes alone, and only its searches are measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path
from typing import get_args

import numpy as np
import psycopg
from cpu import timed
from psycopg.conninfo import make_conninfo
from table import make_table
from vectors import Vectors, debian, made
from ways import Query, ways

from gte_pg.database import Connection, connect, load
from gte_pg.database.embedded import start_embedded
from gte_pg.declaration import Layout, Storage, search_indexes
from gte_pg.encoder import Encoded
from gte_pg.search import QueryVectors, Weights, search
from gte_pg.search.query import as_pgvector

WEIGHTS = [Weights(1, 0.1), Weights(1, 0.3), Weights(1, 1), Weights(0, 1), Weights(1, 0)]
LIMITS = (10, 100)
CLIENTS = (1, 2, 4, 8)
SECONDS = 5
_INSERTED = 500

_SETTINGS = {
    "shared_buffers": "3GB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "jit": "off",
}

# What the other ways need.
_THEIR_INDEXES = {
    "articles_text": "gin (to_tsvector('english', text))",
    "articles_sparse": "hnsw (embedding_sparse sparsevec_ip_ops)",
}


def main() -> None:
    asked = arguments(argparse.ArgumentParser(description=__doc__))
    dsn = database(asked)
    queries = read_queries(asked)[: asked.queries]
    with connect(dsn) as connection:
        report_sizes(connection)
        report_inserts(connection)
        compare(connection, queries, own=asked.own)
    for clients in CLIENTS:
        print(
            f"{clients} clients: {queries_per_second(dsn, queries, clients):.0f} queries/s",
            flush=True,
        )


def arguments(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line; `parser` may have arguments already."""
    parser.add_argument("--descriptions", type=Path, required=True, help="JSON Lines, perhaps .xz")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", choices=["debian", "made"], default="debian")
    parser.add_argument("--count", type=int, default=200_000, help="how many of the made rows")
    parser.add_argument("--storage", choices=get_args(Storage), default="vector")
    parser.add_argument("--layout", choices=get_args(Layout), default="columns")
    parser.add_argument("--index-dimensions", type=int, help="of the dense index; default: all")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--own", action="store_true", help="gte-pg and the scan alone")
    return parser.parse_args()


def read(asked: argparse.Namespace) -> tuple[Vectors, Vectors]:
    if asked.rows == "debian":
        return debian(asked.descriptions, asked.work)
    return made(asked.descriptions, asked.work, asked.count)


def read_queries(asked: argparse.Namespace) -> list[Query]:
    kept = asked.work / f"queries-{asked.rows}.json"
    if not kept.exists():
        _, found = read(asked)
        encoded = Encoded(found.dense, found.sparse, np.zeros(0, np.int64), np.zeros(0, np.bool_))
        vectors = [as_pgvector(encoded, n) for n in range(len(found.texts))]
        pairs = zip(found.texts, vectors, strict=True)
        kept.write_text(json.dumps([(text, v.dense, v.sparse) for text, v in pairs]))
    return [
        Query(text, QueryVectors(dense, sparse))
        for text, dense, sparse in json.loads(kept.read_text())
    ]


def database(asked: argparse.Namespace) -> str:
    """Return the DSN of the table's database, made and indexed where it is not there yet."""
    server = start_embedded(asked.work / "pg" / "data")
    count = "" if asked.rows == "debian" or asked.count == 200_000 else f"_{asked.count}"
    first = "" if asked.index_dimensions is None else f"_{asked.index_dimensions}"
    own = "_own" if asked.own else ""
    name = f"{asked.rows}{count}_{asked.storage}_{asked.layout}{first}{own}"
    dsn = make_conninfo(server, dbname=name)
    with psycopg.connect(server, autocommit=True) as connection:
        for setting, value in _SETTINGS.items():
            connection.execute(f"ALTER SYSTEM SET {setting} = '{value}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return dsn
        connection.execute(f"CREATE DATABASE {name}".encode())
    step = 0.088 if asked.rows == "debian" else 0.25
    rows, _ = read(asked)
    registered, seconds = make_table(
        dsn,
        rows,
        storage=asked.storage,
        layout=asked.layout,
        index_dimensions=asked.index_dimensions,
        impact_step=step,
    )
    with connect(dsn) as connection:
        for index, method in ({} if asked.own else _THEIR_INDEXES).items():
            on = "articles" if "text" in index else registered.declaration.vectors.as_string()
            started = time.perf_counter()
            connection.execute("SET maintenance_work_mem = '2GB'")
            connection.execute(f"CREATE INDEX {index} ON {on} USING {method}".encode())
            seconds[index] = time.perf_counter() - started
        connection.execute("VACUUM ANALYZE")
    for index, spent in seconds.items():
        print(f"{index} built in {spent:.0f} s")
    return dsn


def report_sizes(connection: Connection) -> None:
    rows = connection.execute("""
        SELECT indexrelname, pg_relation_size(indexrelid), c.reltuples
        FROM pg_stat_user_indexes JOIN pg_class AS c ON c.oid = relid
        WHERE schemaname = 'public' ORDER BY indexrelname
    """).fetchall()
    for index, size, count in rows:
        print(f"{index}: {size / max(count, 1):.0f} bytes a row")


def report_inserts(connection: Connection) -> None:
    """What it costs to insert rows that have vectors, with gte-pg's search indexes and without.

    The rows are copies of others, and are taken back.
    """
    declaration = load(connection, "articles").declaration
    vectors = declaration.vectors
    columns = "id, embedding, embedding_sparse, embedding_pending"
    if declaration.companion is None:
        columns += ", text"
    copied = (
        f"INSERT INTO {vectors.as_string()} ({columns}) SELECT -{columns} FROM {vectors.as_string()} "
        f"WHERE id > 0 ORDER BY id LIMIT {_INSERTED}"
    )
    own = [index.name for index in search_indexes(declaration)]
    for what, unwanted in (("with", [*_THEIR_INDEXES]), ("without", [*_THEIR_INDEXES, *own])):
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL session_replication_role = replica")  # no triggers
            for index in unwanted:
                connection.execute(f"DROP INDEX IF EXISTS {index}".encode())
            _, cost = timed(connection, lambda: connection.execute(copied.encode()))
        print(f"insert {what} the search indexes: {cost / _INSERTED:.2f} ms a row")
    connection.execute(f"VACUUM {vectors.as_string()}".encode())


def compare(connection: Connection, queries: list[Query], *, own: bool) -> None:
    registered = load(connection, "articles")
    asking = ways(connection, registered)
    if own:
        asking = {way: asking[way] for way in ("exact scan", "gte-pg")}
    print("weights | k | way | recall | p50 | p95 | of the exact p50")
    for weights in WEIGHTS:
        for k in LIMITS:
            spent: dict[str, list[float]] = {way: [] for way in asking}
            recall: dict[str, list[float]] = {way: [] for way in asking}
            for query in queries:
                truth: list[tuple[int, float]] | None = None
                for way, ask in asking.items():
                    answer, cost = timed(connection, lambda: ask(query, weights, k))  # noqa: B023
                    truth = answer if truth is None else truth
                    spent[way].append(cost)
                    recall[way].append(
                        share(truth, answer, scored=way != "ranks fused (HNSW, full text)")
                    )
            exact = float(np.median(spent["exact scan"]))
            for way, costs in spent.items():
                p50, p95 = float(np.median(costs)), float(np.percentile(costs, 95))
                print(
                    f"{weights.dense:g}, {weights.sparse:g} | {k} | {way} | {np.mean(recall[way]):.4f} "
                    f"| {p50:.1f} | {p95:.1f} | {exact / p50:.1f}×",
                    flush=True,
                )


def share(
    truth: list[tuple[int, float]], answer: list[tuple[int, float]], *, scored: bool
) -> float:
    """The recall: by the score, so that ties count as found, or by the key without one."""
    if not truth:
        return 1.0
    if not scored:
        return len({key for key, _ in truth} & {key for key, _ in answer}) / len(truth)
    worst = truth[-1][1] - 1e-5
    return min(1.0, sum(score >= worst for _, score in answer) / len(truth))


def queries_per_second(dsn: str, queries: list[Query], clients: int) -> float:
    context = multiprocessing.get_context("spawn")
    with context.Pool(clients) as pool:
        answered = pool.starmap(_ask_for_a_while, [(dsn, queries, n) for n in range(clients)])
    return sum(answered) / SECONDS


def _ask_for_a_while(dsn: str, queries: list[Query], start: int) -> int:
    with connect(dsn) as connection:
        registered = load(connection, "articles")
        end = time.perf_counter() + SECONDS
        answered = 0
        while time.perf_counter() < end:
            query = queries[(start * 13 + answered) % len(queries)]
            search(connection, registered, query.vectors, weights=Weights(1, 0.3))
            answered += 1
    return answered


if __name__ == "__main__":
    main()
