"""What capture costs a writer: gte-pg's triggers beside a bare table, Supabase's recipe and pgai's.

    .venv/bin/python benchmarks/sync/capture.py [--rows 10000] [--rounds 5]

Microseconds a row, the least of the rounds, every kind of table in turn in each round: first CPU of the
writer's backend, then by the application's clock. Single statements are timed a hundred at a time, of which
the least counts too: how fast a processor wakes up changes from moment to moment. Commits do not wait for
the disk. "Triggers off" has the
columns of gte-pg and none of its work: what is left over bare is the width of a row with its vectors, and
the index of pending rows.
Updates are of rows that have their vectors; single statements are prepared and come from a client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cpu import spent
from database import fresh_database, parser
from markdown import print_table
from table import BODY, add_embedding, encode_all, make_table

from gte_pg.database import Connection, connect, load
from gte_pg.declaration import Layout

FOLDER = Path(__file__).parent

SINGLES, SINGLES_TIMED = 1_000, 100
UNRELATED = "UPDATE {table} SET likes = likes + 1"
LARGE_TEXTS, LARGE_BYTES = 10, 1_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of table, by its name in the database.

    `finish` is the statement that leaves its rows with vectors and its queue empty; where there is an
    embedding of gte-pg's, its own worker does that.
    """

    title: str
    table: str
    finish: str = ""
    layout: Layout | None = None
    prepare: str = ""

    @property
    def vacuum(self) -> bytes:
        vectors = f", {self.table}_embedding" if self.layout == "companion" else ""
        return f"VACUUM ANALYZE {self.table}{vectors}".encode()


A_VECTOR = "array_fill(0.05::real, ARRAY[384])"

KINDS = (
    Kind("bare table", "bare"),
    Kind("gte-pg, columns, triggers off", "untriggered", layout="columns",
         prepare="ALTER TABLE untriggered DISABLE TRIGGER USER"),
    Kind("gte-pg, columns", "columns", layout="columns"),
    Kind("gte-pg, companion", "companion", layout="companion"),
    Kind("Supabase's recipe (pgmq)", "supabase", prepare=(FOLDER / "supabase.sql").read_text(),
         finish=f"UPDATE supabase SET embedding = {A_VECTOR}::halfvec WHERE embedding IS NULL; "
         "TRUNCATE pgmq.q_embedding_jobs"),
    Kind("pgai's vectorizer", "pgai", prepare=(FOLDER / "pgai.sql").read_text(),
         finish="TRUNCATE pgai_store; INSERT INTO pgai_store (id, chunk_seq, chunk, embedding) "
         f"SELECT id, 0, body, {A_VECTOR}::vector FROM pgai; TRUNCATE ai.queue_1"),
)  # fmt: skip


class Cost(NamedTuple):
    """Microseconds a row."""

    cpu: float
    clock: float


def main() -> None:
    asked = parser(__doc__ or "", rows=10_000, rounds=5).parse_args()
    with fresh_database(asked.dsn) as dsn:
        costs: dict[Kind, dict[str, Cost]] = {kind: {} for kind in KINDS}
        for kind in KINDS:
            with connect(dsn) as connection:
                prepare(dsn, connection, kind)
        for _ in range(asked.rounds):
            for kind, least in costs.items():
                with connect(dsn) as connection:
                    connection.execute("SET synchronous_commit = off")
                    for write, cost in measured(dsn, connection, kind, asked.rows):
                        former = least.get(write, cost)
                        least[write] = Cost(*map(min, zip(cost, former, strict=True)))
    for place, what in enumerate(("µs of CPU a row", "µs a row by the clock")):
        print_table(
            (what, *(kind.title for kind in KINDS)),
            (
                (write, *cells([costs[kind][write][place] for kind in KINDS]))
                for write in costs[KINDS[0]]
            ),
        )


def cells(costs: list[float]) -> list[str]:
    bare, *others = costs
    return [f"{bare:.1f}", *(f"{cost:.1f} ({cost / bare:.2f}×)" for cost in others)]


def prepare(dsn: str, connection: Connection, kind: Kind) -> None:
    make_table(connection, kind.table)
    if kind.layout:
        add_embedding(dsn, name=kind.table, layout=kind.layout)
    if kind.prepare:
        connection.execute(kind.prepare.encode())


def measured(dsn: str, connection: Connection, kind: Kind, rows: int) -> Iterator[tuple[str, Cost]]:
    """Yield each way of writing and the microseconds that a row of it cost."""
    writer = Writer(dsn, connection, kind)
    yield from inserts(writer, rows)
    yield from updates(writer, rows)
    yield from updates_beside_large_text(writer)


def inserts(writer: Writer, rows: int) -> Iterator[tuple[str, Cost]]:
    given = f"SELECT n AS id, {BODY} AS body FROM generate_series(1, {rows}) AS n"
    writer.execute(f"CREATE TEMP TABLE given AS {given}")
    writer.empty()
    yield f"COPY {rows:,} rows", writer.cost(writer.copy("SELECT * FROM given"), rows)
    writer.empty()
    insert = "INSERT INTO {table} (id, body) SELECT id, body FROM given"
    yield f"INSERT … SELECT {rows:,} rows", writer.cost(lambda: writer.execute(insert), rows)
    writer.empty()
    insert_one = f"INSERT INTO {{table}} (id, body) VALUES (%s, '{'some text ' * 36}')"
    yield "INSERT, single", writer.cost_of_singles(insert_one)


def updates(writer: Writer, rows: int) -> Iterator[tuple[str, Cost]]:
    writer.empty()
    writer.execute("INSERT INTO {table} (id, body) SELECT id, body FROM given")
    writer.finish()
    writer.execute("VACUUM (FULL, ANALYZE) {table}")
    bulk = writer.cost(lambda: writer.execute(UNRELATED), rows)
    yield f"unrelated UPDATE, {rows:,} rows", bulk
    single = writer.cost_of_singles(UNRELATED + " WHERE id = %s")
    yield "unrelated UPDATE, single", single
    text = "UPDATE {table} SET body = body || 'x'"
    others = f"{text} WHERE id > {SINGLES}"
    bulk = writer.cost(lambda: writer.execute(others), rows - SINGLES)
    yield f"text UPDATE, {rows - SINGLES:,} rows", bulk
    single = writer.cost_of_singles(text + " WHERE id = %s")
    yield "text UPDATE, single", single


def updates_beside_large_text(writer: Writer) -> Iterator[tuple[str, Cost]]:
    writer.empty()
    text = f"SELECT string_agg(md5(n || ' ' || i), '') FROM generate_series(1, {LARGE_BYTES // 32}) AS i"
    numbers = f"generate_series(1, {LARGE_TEXTS}) AS n"
    writer.execute(f"INSERT INTO {{table}} (id, body) SELECT n, ({text}) FROM {numbers}")
    writer.finish()
    cost = writer.cost_of_singles(UNRELATED + " WHERE id = %s", LARGE_TEXTS)
    yield "unrelated UPDATE, single, text of 1 MB", cost


@dataclass(frozen=True, slots=True)
class Writer:
    """An application that writes to a table of one kind: `{table}` in its statements."""

    dsn: str
    connection: Connection
    kind: Kind

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.format(table=self.kind.table).encode())

    def cost_of_singles(self, statement: str, rows: int = SINGLES) -> Cost:
        """Return what the statement costs for one of the first rows, a thousand times in all."""
        written = statement.format(table=self.kind.table).encode()

        def run(start: int) -> None:
            for number in range(start, start + SINGLES_TIMED):
                self.connection.execute(written, (number % rows + 1,), prepare=True)

        parts = [
            self.spent(partial(run, start), SINGLES_TIMED)
            for start in range(0, SINGLES, SINGLES_TIMED)
        ]
        self.connection.execute(self.kind.vacuum)
        return Cost(*map(min, zip(*parts, strict=True)))

    def copy(self, query: str) -> Callable[[], object]:
        """Return what copies the rows of the query, read beforehand."""
        rows = self.connection.execute(query.encode()).fetchall()
        lines = "".join(f"{key}\t{body}\n" for key, body in rows)
        statement = f"COPY {self.kind.table} (id, body) FROM STDIN".encode()

        def run() -> None:
            with self.connection.cursor().copy(statement) as stream:
                stream.write(lines)

        return run

    def cost(self, work: Callable[[], object], rows: int) -> Cost:
        """Return what the work costs for each of its rows."""
        cost = self.spent(work, rows)
        self.connection.execute(self.kind.vacuum)
        return cost

    def spent(self, work: Callable[[], object], rows: int) -> Cost:
        cpu, clock = spent(self.connection, work)
        return Cost(1e6 * cpu / rows, 1e6 * clock / rows)

    def empty(self) -> None:
        self.execute("TRUNCATE {table}")
        if self.kind.finish:
            self.execute(self.kind.finish)

    def finish(self) -> None:
        """Give every row its vector, and nothing is queued."""
        if self.kind.layout:
            encode_all(self.dsn, load(self.connection, self.kind.table))
        if self.kind.finish:
            self.execute(self.kind.finish)
        self.connection.execute(self.kind.vacuum)


if __name__ == "__main__":
    main()
