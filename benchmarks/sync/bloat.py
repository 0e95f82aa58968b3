"""What encoding a whole table anew leaves behind: log, growth of table and indexes, time of VACUUM.

    .venv/bin/python benchmarks/sync/bloat.py [--rows 100000] [--search-indexes]

All rows have their vectors and the table is vacuumed. Then every row is marked as pending in one UPDATE,
encoded anew in place with an encoder that takes no time, and vacuumed again. With --search-indexes the
table has its HNSW and its token index meanwhile, which takes about 2 ms a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import get_args

from cpu import spent
from database import fresh_database, parser
from markdown import print_table
from psycopg import sql
from table import add_embedding, build_search_indexes, encode_all, fill_table, make_table

from gte_pg.database import Connection, Registered, connect, fill
from gte_pg.declaration import Declaration, Layout

_MARK = sql.SQL("UPDATE {vectors} SET {pending} = now()")


def main() -> None:
    command = parser(__doc__ or "", rows=100_000, rounds=1)
    command.add_argument("--search-indexes", action="store_true")
    asked = command.parse_args()
    head = ("layout", "marking, log bytes/row", "encoding, log bytes/row", "table MB", "indexes MB")
    with fresh_database(asked.dsn) as dsn:
        print_table(
            (*head, "VACUUM s", "VACUUM CPU µs/row"),
            (
                measured(dsn, layout, asked.rows, indexed=asked.search_indexes)
                for _ in range(asked.rounds)
                for layout in get_args(Layout)
            ),
        )


def measured(dsn: str, layout: Layout, rows: int, *, indexed: bool) -> tuple[str, ...]:
    with connect(dsn) as connection:
        registered = finished_table(dsn, connection, layout, rows, indexed=indexed)
        declaration = registered.declaration
        pending = sql.Identifier(declaration.pending_column)
        mark = fill(_MARK, vectors=declaration.vectors, pending=pending)
        before = sizes(connection, declaration)
        marking = logged(connection, lambda: connection.execute(mark))
        # As an autovacuum would, a minute later: to it nothing was pending.
        connection.execute(sql.SQL("ANALYZE {}").format(declaration.vectors))
        encoding = logged(connection, lambda: encode_all(dsn, registered))
        after = sizes(connection, declaration)
        begun = time.perf_counter()
        vacuum = sql.SQL("VACUUM {}").format(declaration.vectors)
        cpu, _ = spent(connection, lambda: connection.execute(vacuum))
        seconds = time.perf_counter() - begun
    return (
        layout,
        f"{marking / rows:,.0f}",
        f"{encoding / rows:,.0f}",
        *(f"{one / 1e6:,.0f} → {two / 1e6:,.0f}" for one, two in zip(before, after, strict=True)),
        f"{seconds:.1f}",
        f"{1e6 * cpu / rows:.0f}",
    )


def finished_table(
    dsn: str, connection: Connection, layout: Layout, rows: int, *, indexed: bool
) -> Registered:
    make_table(connection)
    fill_table(connection, rows)
    registered = add_embedding(dsn, layout=layout)
    encode_all(dsn, registered)
    # What filling it left behind is not what is measured.
    connection.execute("VACUUM FULL articles")
    if layout == "companion":
        connection.execute(sql.SQL("VACUUM FULL {}").format(registered.declaration.vectors))
    connection.execute("VACUUM ANALYZE")
    if indexed:
        build_search_indexes(dsn, registered)
    return registered


def sizes(connection: Connection, declaration: Declaration) -> tuple[int, int]:
    """Return the bytes of the table that holds the vectors, and of its indexes."""
    table = declaration.vectors.as_string()
    found = connection.execute(
        "SELECT pg_table_size(%(table)s::regclass), pg_indexes_size(%(table)s::regclass)",
        {"table": table},
    ).fetchone()
    assert found is not None
    return found


def logged(connection: Connection, work: Callable[[], object]) -> int:
    """Return the bytes that were written to the log meanwhile, by whomever."""

    def end() -> int:
        found = connection.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
        ).fetchone()
        assert found is not None
        return int(found[0])

    before = end()
    work()
    return end() - before


if __name__ == "__main__":
    main()
