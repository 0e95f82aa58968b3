"""What the parts of capture cost a writer, each made by hand; AFTER triggers beside BEFORE triggers.

    taskset -c 0 .venv/bin/python benchmarks/sync/capture_parts.py [--rows 10000] [--rounds 7]

Microseconds of the backend's CPU a row, the least of the rounds, every kind of table in turn in each round.
The condition of the trigger is that of gte-pg's; its function, which no row of these reaches, does nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from cpu import spent
from database import fresh_database, parser
from markdown import print_table
from table import BODY

from gte_pg.database import Connection, connect

COLUMNS = (
    "embedding halfvec(384), embedding_hash bytea, embedding_pending timestamptz DEFAULT now()"
)

CONDITION = """
num_nonnulls(new.embedding, new.embedding_hash) > 0 OR new.embedding_pending IS NULL
    OR num_nonnulls(nullif(new.body::text COLLATE "C", '')) = 0
"""

WITH_KEY, ALONE = "embedding_pending, id", "embedding_pending"


class Kind(NamedTuple):
    """A kind of table: what of capture it has; `queue` are the columns of the index of pending rows."""

    title: str
    is_wide: bool = True
    queue: str = ""
    trigger: str = ""


KINDS = (
    Kind("bare table", is_wide=False),
    Kind("columns"),
    Kind("columns, index (pending, key)", queue=WITH_KEY),
    Kind("columns, index (pending)", queue=ALONE),
    Kind("columns, BEFORE trigger", trigger="BEFORE"),
    Kind("columns, AFTER trigger", trigger="AFTER"),
    Kind("columns, index (pending, key), BEFORE trigger", queue=WITH_KEY, trigger="BEFORE"),
    Kind("columns, index (pending, key), AFTER trigger", queue=WITH_KEY, trigger="AFTER"),
    Kind("columns, index (pending), AFTER trigger", queue=ALONE, trigger="AFTER"),
)


def main() -> None:
    asked = parser(__doc__ or "", rows=10_000, rounds=7).parse_args()
    costs: dict[tuple[str, Kind], float] = {}
    with fresh_database(asked.dsn) as dsn, connect(dsn) as connection:
        connection.execute("SET synchronous_commit = off")
        given = f"SELECT n AS id, {BODY} AS body FROM generate_series(1, {asked.rows}) AS n"
        connection.execute(f"CREATE TEMP TABLE given AS {given}".encode())
        for number, kind in enumerate(KINDS):
            make_table(connection, f"kind_{number}", kind)
        for _ in range(asked.rounds):
            for number, kind in enumerate(KINDS):
                for write in (copy, insert):
                    connection.execute(f"TRUNCATE kind_{number}".encode())
                    cost = 1e6 * write(connection, f"kind_{number}") / asked.rows
                    key = (write.__name__, kind)
                    costs[key] = min(cost, costs.get(key, cost))
    print_table(
        ("µs of CPU a row", "COPY", "INSERT … SELECT"),
        (
            (
                kind.title,
                *(cell(costs[how, kind], costs[how, KINDS[0]]) for how in ("copy", "insert")),
            )
            for kind in KINDS
        ),
    )


def make_table(connection: Connection, name: str, kind: Kind) -> None:
    columns = f", {COLUMNS}" if kind.is_wide else ""
    connection.execute(
        f"CREATE TABLE {name} (id bigint PRIMARY KEY, body text, likes int DEFAULT 0{columns}) "
        "WITH (autovacuum_enabled = off)".encode()
    )
    if kind.queue:
        connection.execute(
            f"CREATE INDEX ON {name} ({kind.queue}) WHERE embedding_pending IS NOT NULL".encode()
        )
    if kind.trigger:
        connection.execute(
            "CREATE OR REPLACE FUNCTION unreached() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NEW; END'"
        )
        connection.execute(
            f"CREATE TRIGGER guard {kind.trigger} INSERT ON {name} FOR EACH ROW "
            f"WHEN ({CONDITION}) EXECUTE FUNCTION unreached()".encode()
        )


def copy(connection: Connection, table: str) -> float:
    """Return the CPU seconds of a COPY of all given rows."""
    rows = connection.execute("SELECT id, body FROM given").fetchall()
    lines = "".join(f"{key}\t{body}\n" for key, body in rows)

    def run() -> None:
        with connection.cursor().copy(f"COPY {table} (id, body) FROM STDIN".encode()) as stream:
            stream.write(lines)

    return spent(connection, run)[0]


def insert(connection: Connection, table: str) -> float:
    """Return the CPU seconds of an INSERT of all given rows."""
    statement = f"INSERT INTO {table} (id, body) SELECT id, body FROM given".encode()
    return spent(connection, lambda: connection.execute(statement))[0]


def cell(cost: float, bare: float) -> str:
    return f"{cost:.1f} ({cost / bare:.2f}×)"


if __name__ == "__main__":
    main()
