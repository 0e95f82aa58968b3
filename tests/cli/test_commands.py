"""The commands as other programs use them: arguments in, JSON Lines on stdout, an exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, connect
from gte_pg.encoder import Encoder
from tests.tables import ARTICLES

BLNS = Path(__file__).parents[1] / "data" / "blns.json"


def gte_pg(*arguments: str, dsn: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "GTE_PG_DSN"}
    if dsn is not None:
        environment["GTE_PG_DSN"] = dsn
    return subprocess.run(
        [sys.executable, "-m", "gte_pg", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def application(empty_dsn: str) -> Any:
    """A connection to a database that gte-pg has never seen."""
    with connect(empty_dsn) as connection:
        yield connection


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_a_table_made_by_hand_from_first_to_last(
    application: Connection, empty_dsn: str, model: str, encoder: Encoder, layout: str
) -> None:
    application.execute('CREATE SCHEMA "Odd ""App"""')
    table = '"Odd ""App"""."My Table %s {0}"'
    application.execute(
        f'CREATE TABLE {table} ("Region" char(2), "id""" int, "the %s title" text, body varchar(200), '
        'note text, PRIMARY KEY ("Region", "id""")) '.encode()
    )
    application.execute(
        f"INSERT INTO {table} VALUES ('eu', 1, 'a cat', 'on a mat'), ('us', 1, 'a database', NULL), "
        "('us', 2, '', NULL)".encode()
    )
    added = gte_pg(
        "add", table, "--source", "the %s title", "--source", "body", "--model", model,
        "--name", 'Vec"tor', "--layout", layout, "--dsn", empty_dsn,
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    assert added.stdout == ""
    *_, last = lines(gte_pg("sync", dsn=empty_dsn))
    assert (last["stage"], last["encoded"], last["left"]) == ("done", 2, 0)
    hits = lines(gte_pg("search", table, "cat", "--json", dsn=empty_dsn))
    assert [hit["key"] for hit in hits] == [
        {"Region": "eu", 'id"': 1},
        {"Region": "us", 'id"': 1},
    ]
    query = encoder.encode(["cat"], kind="query").dense[0]
    document = encoder.encode(["a cat\non a mat"]).dense[0]
    assert hits[0]["dense"] == pytest.approx(float(query @ document), abs=1e-5)
    for hit in hits:
        assert set(hit) == {"key", "score", "dense", "sparse", "complete"}
        assert hit["score"] == pytest.approx(hit["dense"] + 0.1 * hit["sparse"], abs=1e-6)
    application.execute(f"UPDATE {table} SET body = 'changed' WHERE \"Region\" = 'us'".encode())
    (status,) = lines(gte_pg("status", "--json", dsn=empty_dsn))
    assert (status["rows"], status["encoded"], status["pending"]) == (3, 1, 2)
    assert gte_pg("remove", table, dsn=empty_dsn).returncode == 0
    left = application.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~gte%%'", ()
    ).fetchone()
    assert left == (0,)
    columns = application.execute(f"SELECT * FROM {table}".encode()).description
    assert columns is not None
    assert len(columns) == 5


def test_every_kind_of_text_is_encoded_or_has_none(
    application: Connection, empty_dsn: str, model: str
) -> None:
    texts = [text for text in json.loads(BLNS.read_text(encoding="utf-8")) if "\0" not in text]
    texts += [
        "",
        " ",
        "\n\t",
        "🙂" * 300,
        "שלום עולם",
        "x" * 100_000,
        "word " * 20_000,
        "'; --",
        "%s",
    ]
    application.execute("CREATE TABLE texts (id serial PRIMARY KEY, body text)")
    application.cursor().executemany("INSERT INTO texts (body) VALUES (%s)", [(t,) for t in texts])
    application.execute("INSERT INTO texts (body) VALUES (NULL)")
    assert (
        gte_pg("add", "texts", "--source", "body", "--model", model, dsn=empty_dsn).returncode == 0
    )
    *_, last = lines(gte_pg("sync", "--batch", "64", dsn=empty_dsn))
    assert last["encoded"] == sum(text != "" for text in texts)
    assert (last["failed"], last["left"]) == (0, 0)
    for text in ("🙂", "'; DROP TABLE texts; --", "$1 %s {x} \\", "x" * 100_000):
        assert len(lines(gte_pg("search", "texts", text, "--json", dsn=empty_dsn))) == 10


def test_search_by_weights_and_limit(application: Connection, empty_dsn: str, model: str) -> None:
    application.execute(ARTICLES)
    application.execute("INSERT INTO articles SELECT n, 'cat ' || n FROM generate_series(1, 30) n")
    gte_pg("add", "articles", "--source", "title,body", "--model", model, dsn=empty_dsn)
    gte_pg("sync", dsn=empty_dsn)

    def search(*options: str) -> list[dict[str, Any]]:
        arguments = ["search", "articles", "cat 7", "--json", "--dsn", empty_dsn, *options]
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    assert len(search("--limit", "3")) == 3
    for dense, sparse in (("1", "0"), ("0", "1"), ("0.5", "2")):
        weights = ("--dense-weight", dense, "--sparse-weight", sparse)
        fast, exact = search(*weights), search(*weights, "--exact")
        assert fast == exact
        for hit in fast:
            expected = float(dense) * hit["dense"] + float(sparse) * hit["sparse"]
            assert hit["score"] == pytest.approx(expected, abs=1e-6)
    readable = gte_pg("search", "articles", "cat 7", dsn=empty_dsn)
    assert "score" in readable.stdout


def test_a_partitioned_table_with_a_key_in_any_order(
    application: Connection, empty_dsn: str, model: str
) -> None:
    application.execute("""
        CREATE TABLE parts (id bigint, region text, body text, PRIMARY KEY (region, id))
        PARTITION BY LIST (region);
        CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu');
        CREATE TABLE parts_us PARTITION OF parts DEFAULT;
        INSERT INTO parts SELECT n, (ARRAY['eu', 'us'])[1 + n % 2], 'cat ' || n
        FROM generate_series(1, 300) AS n;
    """)
    gte_pg("add", "parts", "--source", "body", "--model", model, dsn=empty_dsn)
    *_, last = lines(gte_pg("sync", dsn=empty_dsn))
    assert (last["encoded"], last["left"]) == (300, 0)
    application.execute("UPDATE parts_eu SET body = 'dog' WHERE id = 2")
    application.execute("CREATE TABLE parts_asia PARTITION OF parts FOR VALUES IN ('asia')")
    application.execute("INSERT INTO parts VALUES (1, 'asia', 'a new partition')")
    (status,) = lines(gte_pg("status", "--json", dsn=empty_dsn))
    assert status["pending"] == 2
    lines(gte_pg("sync", dsn=empty_dsn))
    (hit,) = lines(
        gte_pg("search", "parts", "a new partition", "--limit", "1", "--json", dsn=empty_dsn)
    )
    assert list(hit["key"].items()) == [("region", "asia"), ("id", 1)]
    readable = gte_pg("search", "parts", "a new partition", "--limit", "1", dsn=empty_dsn)
    assert readable.stdout.index("region") < readable.stdout.index("id")
    assert readable.stdout.index("asia") < readable.stdout.rindex("1")


def test_watch_encodes_what_comes_and_leaves_when_told(
    application: Connection, empty_dsn: str, model: str
) -> None:
    application.execute(ARTICLES)
    gte_pg("add", "articles", "--source", "title", "--model", model, dsn=empty_dsn)
    worker = subprocess.Popen(
        [sys.executable, "-m", "gte_pg", "sync", "--watch", "--dsn", empty_dsn],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for n in range(3):
            application.execute("INSERT INTO articles VALUES (%s, 'cat')", (n,))
            _wait_for(application, "SELECT count(embedding) FROM articles", n + 1)
        # The connection is lost: the worker comes back by itself.
        application.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        application.execute("UPDATE articles SET title = 'dog'")
        _wait_for(application, "SELECT count(embedding) FROM articles", 3)
    finally:
        worker.send_signal(signal.SIGTERM)
        stdout, stderr = worker.communicate(timeout=30)
    assert worker.returncode == 0, stderr
    assert all(json.loads(line)["stage"] == "done" for line in stdout.splitlines())


def test_killed_workers_lose_nothing(application: Connection, empty_dsn: str, model: str) -> None:
    application.execute(ARTICLES)
    application.execute(
        "INSERT INTO articles SELECT n, repeat('cat ' || n || ' ', 30) FROM generate_series(1, 3000) n"
    )
    gte_pg("add", "articles", "--source", "title", "--model", model, dsn=empty_dsn)
    for seconds in (1.0, 1.3, 1.6):
        worker = subprocess.Popen(
            [sys.executable, "-m", "gte_pg", "sync", "--batch", "50", "--dsn", empty_dsn],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(seconds)
        worker.kill()
        worker.wait()
    application.execute("UPDATE gte.lease SET until = now()")  # as if their time were over
    *_, last = lines(gte_pg("sync", dsn=empty_dsn))
    assert last["left"] == 0
    assert application.execute(
        "SELECT count(*) FROM articles WHERE embedding IS NULL"
    ).fetchone() == (0,)


def _wait_for(connection: Connection, statement: str, value: int) -> None:
    deadline = time.monotonic() + 30
    while connection.execute(statement.encode()).fetchone() != (value,):
        assert time.monotonic() < deadline, statement
        time.sleep(0.05)


MISTAKES: dict[str, tuple[list[str], str]] = {
    "no such table": (["add", "nowhere", "--source", "x", "--model", "MODEL"], "no table nowhere"),
    "not a name": (["add", "a b c", "--source", "x", "--model", "MODEL"], "no table a b c"),
    "no such column": (["add", "articles", "--source", "titel", "--model", "MODEL"], "'titel'"),
    "no such model": (["add", "articles", "--source", "title", "--model", "gte-smal"], "gte-small"),
    "no key": (["add", "keyless", "--source", "t", "--model", "MODEL"], "no primary key"),
    "a view": (["add", "seen", "--source", "t", "--model", "MODEL"], "not a table"),
    "generated": (["add", "made", "--source", "t", "--model", "MODEL"], "generated"),
    "twice": (["add", "done", "--source", "t", "--model", "MODEL"], "already has an embedding"),
    "column taken": (
        ["add", "done", "--source", "t", "--model", "MODEL", "--name", "taken"],
        "already has a column",
    ),
    "a copy": (
        ["add", "copied", "--source", "t", "--model", "MODEL"],
        'Drop them: ALTER TABLE "public"."copied" DROP COLUMN IF EXISTS "embedding", ',
    ),
    "no embedding": (["search", "articles", "cat"], "has no embedding"),
    "empty query": (["search", "done", " "], "empty"),
    "no rows": (["search", "done", "cat", "--limit", "0"], "limit is 0"),
    "weights": (["search", "done", "cat", "--dense-weight", "-1"], "-1"),
    "other name": (["search", "done", "cat", "--name", "nope"], "nope"),
    "dimensions": (
        ["add", "articles", "--source", "title", "--model", "MODEL", "--dimensions", "9999"],
        "9999",
    ),
}


@pytest.fixture(scope="module")
def mistaken(server: str, template: str, model: str) -> Any:
    from psycopg.conninfo import make_conninfo

    from tests.postgres import new_database

    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            connection.execute(ARTICLES)
            connection.execute("CREATE TABLE keyless (t text)")
            connection.execute("CREATE VIEW seen AS SELECT 'x' AS t")
            connection.execute(
                "CREATE TABLE made (id int PRIMARY KEY, "
                "t text GENERATED ALWAYS AS (id::text) STORED)"
            )
            connection.execute("CREATE TABLE done (id int PRIMARY KEY, t text, taken_hash int)")
        done = gte_pg("add", "done", "--source", "t", "--model", model, "--dsn", dsn)
        assert done.returncode == 0, done.stderr
        with connect(dsn) as connection:
            connection.execute("CREATE TABLE copied (LIKE done INCLUDING ALL)")
        yield dsn


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained_on_stderr(mistaken: str, model: str, mistake: str) -> None:
    arguments, message = MISTAKES[mistake]
    done = gte_pg(*(model if word == "MODEL" else word for word in arguments), dsn=mistaken)
    assert done.returncode == 1
    assert done.stdout == ""
    assert message in done.stderr
    assert "Traceback" not in done.stderr
