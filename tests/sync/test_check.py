from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load_all
from gte_pg.declaration import Layout, trigger_names
from gte_pg.errors import DeclarationError
from gte_pg.sync import Team, count_broken, missing_triggers, repair, status, watch
from gte_pg.sync.triggers import make_triggers
from tests.roles import make_role
from tests.tables import ARTICLES, add_embedding, drain


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str, layout: Layout) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 10) n")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    drain(connection, registered)
    return registered


# What is written while the triggers are off, how many rows it breaks, and how many stay encoded.
PAST_THE_TRIGGERS: dict[str, tuple[str, str, int, int]] = {
    "other text": ("any", "UPDATE articles SET title = 'x' WHERE id <= 3", 3, 7),
    "no text": ("any", "UPDATE articles SET title = '' WHERE id <= 2", 2, 8),
    "new row": ("companion", "INSERT INTO articles (id, title) VALUES (11, 'x')", 1, 10),
    "new row without text": ("companion", "INSERT INTO articles (id) VALUES (11)", 1, 10),
    "row gone": ("companion", "DELETE FROM articles WHERE id <= 4", 4, 6),
    "all rows gone": ("companion", "TRUNCATE articles", 10, 0),
    "other key": ("companion", "UPDATE articles SET id = 11 WHERE id = 1", 2, 9),
    "vector gone": ("any", "UPDATE VECTORS SET embedding = NULL WHERE id = 1", 1, 9),
    "nothing said": (
        "columns",
        "INSERT INTO articles (id, title, embedding_pending) VALUES (11, 'x', NULL)",
        1,
        10,
    ),
    "no text, pending": ("columns", "INSERT INTO articles (id, title) VALUES (11, NULL)", 1, 10),
}


@pytest.mark.parametrize(
    ("layout", "case"),
    [
        (layout, case)
        for case, (where, *_) in PAST_THE_TRIGGERS.items()
        for layout in ("columns", "companion")
        if where in (layout, "any")
    ],
    indirect=["layout"],
)
def test_what_went_past_the_triggers_is_found_and_mended(
    dsn: str, connection: Connection, articles: Registered, case: str
) -> None:
    _, statement, broken, right = PAST_THE_TRIGGERS[case]
    vectors = articles.declaration.vectors.as_string()
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute(statement.replace("VECTORS", vectors).encode())
    connection.execute("ALTER TABLE articles ENABLE TRIGGER USER")
    assert count_broken(connection, articles) == broken
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert (checked.exit_code, f'"broken": {broken}' in checked.stdout) == (1, True)
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert repaired.exit_code == 0, repaired.stderr
    assert count_broken(connection, articles) == 0
    now = status(connection, articles)
    assert (now.pending, now.encoded >= right) == (0, True)
    assert repair(connection, articles).rows == 0
    assert CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn]).exit_code == 0


@pytest.mark.parametrize(
    "harm",
    [
        "ALTER TABLE articles DISABLE TRIGGER ALL",
        "ALTER TABLE articles ENABLE TRIGGER USER",
        'DROP TRIGGER "TRIGGER" ON articles',
    ],
)
def test_triggers_that_are_gone_or_off_are_found_and_made_anew(
    dsn: str, connection: Connection, articles: Registered, harm: str
) -> None:
    assert missing_triggers(connection, articles) == []
    trigger = next(name for name in trigger_names(articles.declaration) if "update" in name)
    connection.execute(harm.replace('TRIGGER"', f'{trigger}"').encode())
    assert missing_triggers(connection, articles)
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert (checked.exit_code, f"{trigger} on articles" in checked.stdout) == (1, True)
    missing = missing_triggers(connection, articles)
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    told = {
        "table": "public.articles",
        "embedding": "embedding",
        "repaired": 0,
        "triggers": missing,
    }
    assert json.loads(repaired.stdout.splitlines()[0]) == told
    assert missing_triggers(connection, articles) == []
    connection.execute("UPDATE articles SET title = 'x'")
    assert status(connection, articles).pending == 10


@pytest.mark.parametrize("layout", ["companion"])
def test_a_table_that_was_given_away_does_not_keep_a_superusers_rights(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("""
        DO $$ BEGIN
            CREATE ROLE gte_pg_test_owner;
        EXCEPTION WHEN duplicate_object THEN NULL; END $$;
        ALTER TABLE articles OWNER TO gte_pg_test_owner;
    """)
    assert missing_triggers(connection, articles)
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert repaired.exit_code == 0, repaired.output
    assert missing_triggers(connection, articles) == []
    owners = connection.execute("""
        SELECT DISTINCT relowner::regrole::text, proowner::regrole::text FROM pg_class, pg_proc
        WHERE relname ~ '^articles(_embedding)?$' AND proname = 'public_articles_embedding_capture'
    """).fetchall()
    assert owners == [("gte_pg_test_owner", "gte_pg_test_owner")]
    connection.execute("DELETE FROM articles WHERE id = 2")


@pytest.mark.parametrize("layout", ["companion"])
def test_an_owner_who_may_not_use_the_schema_of_a_table_is_told_of(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    """The triggers write with that role's rights: applications would be in trouble, and not know why."""
    make_role(connection, "gte_pg_test_owner")
    connection.execute("""
        CREATE SCHEMA app;
        CREATE TABLE app.articles (id int PRIMARY KEY, title text);
        ALTER TABLE app.articles OWNER TO gte_pg_test_owner;
    """)
    add = ["add", "app.articles", "--source", "title", "--model", model, "--layout", layout]
    added = CliRunner().invoke(main, [*add, "--dsn", dsn])
    assert added.exit_code == 1
    assert "GRANT USAGE ON SCHEMA app TO gte_pg_test_owner" in added.stderr
    connection.execute("GRANT USAGE ON SCHEMA app TO gte_pg_test_owner")
    added = CliRunner().invoke(main, [*add, "--dsn", dsn])
    assert added.exit_code == 0, added.output
    connection.execute("INSERT INTO app.articles VALUES (1, 'one')")
    (articles,) = load_all(connection)
    assert missing_triggers(connection, articles) == []
    connection.execute("REVOKE USAGE ON SCHEMA app FROM gte_pg_test_owner")
    assert len(missing_triggers(connection, articles)) == 4
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert repaired.exit_code == 1
    assert "GRANT USAGE ON SCHEMA app TO gte_pg_test_owner" in repaired.stderr


@pytest.mark.parametrize("layout", ["companion"])
def test_an_expression_that_the_owner_of_a_table_may_not_use_is_refused(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    make_role(connection, "gte_pg_test_owner")
    connection.execute("""
        CREATE SCHEMA app;
        CREATE FUNCTION app.loud(text) RETURNS text IMMUTABLE RETURN upper($1);
        REVOKE EXECUTE ON FUNCTION app.loud FROM PUBLIC;
        CREATE TABLE articles (id int PRIMARY KEY, title text);
        ALTER TABLE articles OWNER TO gte_pg_test_owner;
    """)
    expression = ["--expression", "app.loud({title})"]
    add = ["add", "articles", *expression, "--model", model, "--layout", layout, "--dsn", dsn]
    only_one_right = (
        "GRANT USAGE ON SCHEMA app TO gte_pg_test_owner",
        "REVOKE USAGE ON SCHEMA app FROM gte_pg_test_owner;"
        "GRANT EXECUTE ON FUNCTION app.loud TO gte_pg_test_owner",
    )
    for granted in only_one_right:
        connection.execute(granted.encode())
        added = CliRunner().invoke(main, add)
        assert added.exit_code == 1
        assert "gte_pg_test_owner, who owns" in added.stderr
        assert "may not call app.loud(text)" in added.stderr
    connection.execute("GRANT USAGE ON SCHEMA app TO gte_pg_test_owner")
    added = CliRunner().invoke(main, add)
    assert added.exit_code == 0, added.output
    connection.execute("INSERT INTO articles VALUES (1, 'one')")


@pytest.mark.parametrize("layout", ["companion"])
@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("app.articles", "CREATE SCHEMA other; ALTER SCHEMA public RENAME TO app"),
        ("articles", "ALTER TABLE articles_embedding RENAME TO vectors"),
        (
            "articles",
            "ALTER TABLE articles OWNER TO gte_pg_test_owner;"
            "ALTER FUNCTION gte.public_articles_embedding_capture OWNER TO gte_pg_test_former",
        ),
    ],
    ids=["schema", "companion", "owner"],
)
def test_writes_that_fail_since_something_was_renamed_or_given_away_are_mended(
    dsn: str, connection: Connection, articles: Registered, table: str, change: str
) -> None:
    for role in ("owner", "former"):
        make_role(connection, f"gte_pg_test_{role}")
    drain(connection, articles)
    connection.execute(change.encode())
    delete = f"DELETE FROM {table} WHERE id = 2"
    with pytest.raises(psycopg.Error):
        connection.execute(delete.encode())
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert (checked.exit_code, "triggers missing, disabled or out of date" in checked.stderr) == (
        1,
        True,
    )
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert repaired.exit_code == 0, repaired.output
    connection.execute(delete.encode())
    assert CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn]).exit_code == 0


def test_a_column_that_took_the_name_of_another_is_found(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    connection.execute("""
        ALTER TABLE articles ADD COLUMN title_new text;
        UPDATE articles SET title_new = title;
        ALTER TABLE articles RENAME COLUMN title TO title_old;
        ALTER TABLE articles RENAME COLUMN title_new TO title;
    """)
    found = missing_triggers(connection, articles)
    assert [one.split()[0] for one in found] == ["~gte_embedding_update"]
    assert CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn]).exit_code == 0
    assert missing_triggers(connection, articles) == []
    connection.execute("UPDATE articles SET title = 'another' WHERE id = 1")
    assert (status(connection, articles).pending, count_broken(connection, articles)) == (1, 0)


def test_the_type_of_a_source_column_is_changed_as_the_guide_says(
    connection: Connection, articles: Registered
) -> None:
    drain(connection, articles)
    retype = "ALTER TABLE articles ALTER COLUMN title TYPE varchar(200)"
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        connection.execute(retype)
    with connection.transaction():
        for name in trigger_names(articles.declaration):
            connection.execute(f'DROP TRIGGER "{name}" ON articles'.encode())
        connection.execute(retype)
    assert repair(connection, articles).rows == 0
    assert (missing_triggers(connection, articles), status(connection, articles).pending) == ([], 0)


def test_a_trigger_is_made_anew_without_holding_up_the_application(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    with (
        connect(make_conninfo(dsn, application_name="repairing")) as own,
        connect(dsn) as reader,
    ):
        thread = threading.Thread(target=repair, args=(own, articles))
        with reader.transaction():
            reader.execute("SELECT FROM articles")
            thread.start()
            waits = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
            while not connection.execute(waits, (own.info.backend_pid,)).fetchall():
                time.sleep(0.01)
            connection.execute("SET lock_timeout = '3s'")
            connection.execute("INSERT INTO articles (id) VALUES (11)")
        thread.join()
    assert missing_triggers(connection, articles) == []


def test_a_repair_that_waits_is_ended_by_ctrl_c(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    with connect(dsn) as reader, reader.transaction():
        reader.execute("SELECT FROM articles")
        repairing = subprocess.Popen(
            [sys.executable, "-m", "gte_pg", "sync", "--repair", "--dsn", dsn],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'articles'::regclass"
        while not connection.execute(waits).fetchall():
            time.sleep(0.01)
        repairing.send_signal(signal.SIGINT)
        _, said = repairing.communicate(timeout=20)
    assert (repairing.returncode, b"Aborted" in said) == (1, True)


def test_nobody_waits_for_a_repair_that_waits_for_a_row(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute("UPDATE articles SET title = 'x'")
    make_triggers(connection, articles)
    mended: list[int] = []

    def mend() -> None:
        with connect(dsn) as own:
            mended.append(repair(own, articles).rows)

    with connect(dsn) as application, application.transaction():
        application.execute("UPDATE articles SET title = 'y' WHERE id = 10")
        repairing = threading.Thread(target=mend)
        repairing.start()
        until = time.monotonic() + 10
        while status(connection, articles).pending < 9 and time.monotonic() < until:
            time.sleep(0.05)
        connection.execute("SET lock_timeout = '1s'")
        connection.execute("UPDATE articles SET title = 'z' WHERE id < 10")
        assert repairing.is_alive()
    repairing.join(20)
    assert mended == [9]
    assert count_broken(connection, articles) == 0


@pytest.mark.parametrize("layout", ["columns"])
def test_a_row_that_cannot_be_mended_is_said(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    connection.execute("ALTER TABLE articles DISABLE TRIGGER USER")
    connection.execute("UPDATE articles SET title = 'x' WHERE id <= 3")
    connection.execute("ALTER TABLE articles ENABLE TRIGGER USER")
    connection.execute("""
        CREATE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN IF OLD.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
        CREATE TRIGGER leave BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION leave()
    """)
    repaired = CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn])
    assert (
        repaired.exit_code,
        "1 rows of public.articles stay broken, the one with the key 2" in repaired.stderr,
    ) == (1, True)
    assert '"encoded": 2' in repaired.stdout
    assert count_broken(connection, articles) == 1


@pytest.mark.parametrize("name", ["~zz", "überschrift"])
def test_a_trigger_that_fires_after_ours_is_refused_and_found(
    dsn: str, connection: Connection, articles: Registered, layout: Layout, name: str
) -> None:
    connection.execute(
        f"""
        CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.title := upper(NEW.title); RETURN NEW; END';
        CREATE TRIGGER "{name}" BEFORE UPDATE ON articles FOR EACH ROW EXECUTE FUNCTION shout();
    """.encode()
    )
    late = [f"{name} on articles"] if layout == "columns" else []
    checked = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert json.loads(checked.stdout)["late_triggers"] == late
    assert (checked.exit_code, "ALTER TRIGGER" in checked.stderr) == (len(late), bool(late))
    model = articles.declaration.model
    if late:
        with pytest.raises(DeclarationError, match=f"{name} on articles may change the text"):
            add_embedding(dsn, connection, "articles", ("title",), model, name="titles")
    connection.execute(f'ALTER TRIGGER "{name}" ON articles RENAME TO shout'.encode())
    assert CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn]).exit_code == 0
    add_embedding(dsn, connection, "articles", ("title",), model, name="titles", layout=layout)


def test_a_partition_is_guarded_like_its_table(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute("""
        CREATE TABLE parts (id int PRIMARY KEY, body text) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (11);
        INSERT INTO parts SELECT n, 'body ' || n FROM generate_series(1, 10) n;
        CREATE TABLE parts_2 (id int PRIMARY KEY, body text);
        INSERT INTO parts_2 SELECT n, 'body ' || n FROM generate_series(11, 20) n;
    """)
    parts = add_embedding(dsn, connection, "parts", ("body",), model, layout=layout)
    drain(connection, parts)
    if layout == "columns":
        for column, kind in (
            ("embedding", "vector(64)"), ("embedding_sparse", "sparsevec(368)"),
            ("embedding_hash", "bytea"), ("embedding_pending", "timestamptz"),
        ):  # fmt: skip
            connection.execute(f"ALTER TABLE parts_2 ADD COLUMN {column} {kind}".encode())
    connection.execute("ALTER TABLE parts ATTACH PARTITION parts_2 FOR VALUES FROM (11) TO (21)")
    assert missing_triggers(connection, parts) == []
    assert count_broken(connection, parts) == 10, "the rows of the attached partition"
    assert repair(connection, parts).rows == 10
    assert drain(connection, parts).encoded == 10
    connection.execute("ALTER TABLE parts_2 DISABLE TRIGGER USER")
    assert all("on parts_2" in missing for missing in missing_triggers(connection, parts))
    connection.execute("UPDATE parts SET body = 'x' WHERE id >= 10")
    assert count_broken(connection, parts) == 10
    assert repair(connection, parts).rows == 10
    assert drain(connection, parts).encoded == 11
    connection.execute("TRUNCATE parts_1")
    assert drain(connection, parts).left == 0
    # In a companion nothing tells that one partition was emptied but the check.
    assert count_broken(connection, parts) == (10 if layout == "companion" else 0)
    repair(connection, parts)
    assert (count_broken(connection, parts), status(connection, parts).rows) == (0, 10)


def test_a_table_that_inherits_is_refused_and_found(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    """Unlike a partition it has no triggers of its parent's, and no primary key."""
    connection.execute("CREATE TABLE essays () INHERITS (articles)")
    found = missing_triggers(connection, articles)
    assert found
    assert all(one.endswith(" on essays") for one in found)
    with pytest.raises(DeclarationError, match="essays inherits from"):
        add_embedding(dsn, connection, "articles", ("body",), articles.declaration.model, name="b")
    connection.execute("DROP TABLE essays")
    assert missing_triggers(connection, articles) == []


def test_nothing_is_broken_right_after_add(
    dsn: str, connection: Connection, model: str, layout: Layout
) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'with text'), (2, ''), (3, NULL)")
    registered = add_embedding(dsn, connection, "articles", ("title",), model, layout=layout)
    assert count_broken(connection, registered) == 0
    done = CliRunner().invoke(main, ["sync", "--check", "--dsn", dsn])
    assert done.exit_code == 0, done.output
    drain(connection, registered)
    assert count_broken(connection, registered) == 0


def test_a_check_may_take_longer_than_other_statements(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    limited = make_conninfo(dsn, options="-c statement_timeout=300ms")
    counted: list[int] = []
    with connect(limited) as checker, connect(dsn) as other:
        thread = threading.Thread(target=lambda: counted.append(count_broken(checker, articles)))
        with other.transaction():
            other.execute("LOCK TABLE articles")
            thread.start()
            thread.join(timeout=0.7)
        thread.join()
    assert counted == [0]


def test_a_sync_without_triggers_says_so(
    dsn: str, connection: Connection, articles: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute("ALTER TABLE articles DROP COLUMN title CASCADE")
    connection.execute("ALTER TABLE articles ADD title text")
    connection.execute("INSERT INTO articles (id, title) VALUES (11, 'fresh')")

    missing = missing_triggers(connection, articles)

    def told() -> list[bool]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return ["--repair" in one and all(name in one for name in missing) for one in found]

    assert CliRunner().invoke(main, ["sync", "--dsn", dsn]).exit_code == 0
    assert told() == [True]
    connection.execute("INSERT INTO articles (id, title) VALUES (12, 'fresh')")
    stop = threading.Event()
    for _, progress in watch(Team(dsn, stop), load_all):
        if progress.encoded:
            stop.set()
    assert told() == [True], "by one of its workers"
    assert CliRunner().invoke(main, ["sync", "--repair", "--dsn", dsn]).exit_code == 0
    assert told() == []
