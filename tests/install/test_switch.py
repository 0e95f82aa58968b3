"""A change of the model while the application reads and writes."""

from __future__ import annotations

import threading
import time
from typing import Any, cast

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import Connection, Registered, connect, load, load_all
from gte_pg.declaration import Layout, declared_encoder, search_indexes
from gte_pg.encoder import Encoder
from gte_pg.errors import DatabaseError, EncodingError, ModelNotFound
from gte_pg.install import count_lost, exchange_statements
from gte_pg.search import Weights, encode_query, gte_search_call, search
from gte_pg.sync import Team, Worker, clock, count_broken, missing_triggers, status, watch
from gte_pg.sync.copy_keys import copy_keys
from gte_pg.sync.indexes import build_index
from tests.roles import make_role
from tests.tables import ARTICLES, Interrupted, add_embedding, drain, written_all_the_while


@pytest.fixture(params=["columns", "companion"])
def articles(
    dsn: str, connection: Connection, model: str, request: pytest.FixtureRequest
) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 50) n")
    registered = add_embedding(
        dsn, connection, "articles", ("title",), model, layout=cast("Layout", request.param)
    )
    drain(connection, registered)
    return registered


def gte_pg(dsn: str, *arguments: str) -> Any:
    return CliRunner().invoke(main, [*arguments, "--dsn", dsn])


def add_embedding_next(
    dsn: str, connection: Connection, present: Registered, model: str
) -> Registered:
    """Begin a switch as the command does."""
    layout = present.declaration.layout
    return add_embedding(
        dsn, connection, "articles", ("title",), model, name="embedding_next", layout=layout
    )


def vectors_are_right(connection: Connection, registered: Registered) -> bool:
    declaration = registered.declaration
    rows = connection.execute(
        f"SELECT a.title, v.embedding::real[] FROM articles a "
        f"JOIN {declaration.vectors.as_string()} v ON v.id = a.id ORDER BY a.id".encode()
    ).fetchall()
    expected = declared_encoder(declaration).encode([text for text, _ in rows])
    return bool(np.allclose([vector for _, vector in rows], expected.dense, atol=1e-6))


def test_there_and_back(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    switched = gte_pg(dsn, "switch", "articles", "--model", plain_model)
    assert switched.exit_code == 0, switched.output
    names = [one.declaration.name for one in load_all(connection, "articles")]
    assert sorted(names) == ["embedding", "embedding_previous"]
    present = load(connection, "articles", "embedding")
    assert present.declaration.model == plain_model
    assert vectors_are_right(connection, present)
    for one in load_all(connection, "articles"):
        assert (count_broken(connection, one), missing_triggers(connection, one)) == (0, [])
    connection.execute("UPDATE articles SET title = 'changed' WHERE id <= 5")
    for one in load_all(connection, "articles"):
        assert drain(connection, one).encoded == 5
    found = gte_pg(dsn, "search", "articles", "changed", "--json")
    assert found.exit_code == 0, found.output
    assert len(found.stdout.splitlines()) == 10
    by_sql = connection.execute("SELECT * FROM gte.similar('articles', '7', k => 3)").fetchall()
    assert len(by_sql) == 3
    again = gte_pg(dsn, "switch", "articles", "--model", articles.declaration.model)
    assert "embedding_previous" in again.output, "a second switch would lose the way back"

    back = gte_pg(dsn, "switch", "articles", "--back")
    assert back.exit_code == 0, back.output
    present = load(connection, "articles", "embedding")
    assert present.declaration == articles.declaration
    assert vectors_are_right(connection, present)
    assert load(connection, "articles", "embedding_next").declaration.model == plain_model
    # The one that was given up waits under its old name: to go there again takes no encoding.
    assert gte_pg(dsn, "switch", "articles", "--model", plain_model).exit_code == 0
    removed = gte_pg(dsn, "remove", "articles", "--name", "embedding_previous")
    assert removed.exit_code == 0, removed.output
    (left,) = load_all(connection, "articles")
    assert left.declaration.model == plain_model
    assert drain(connection, left).index == ""


def test_an_interrupted_switch_goes_on_where_it_was(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gte_pg.cli.schema_change._TRIES", 3)
    coming = add_embedding_next(dsn, connection, articles, plain_model)
    next(Worker(connection, coming, declared_encoder(coming.declaration), batch_rows=20).rounds())
    with connect(dsn) as application, application.transaction():
        application.execute("SELECT FROM articles WHERE id = 7 FOR UPDATE")
        # The exchange needs the table for a moment: it gives way to others, and does not try for ever.
        refused = gte_pg(dsn, "switch", "articles", "--model", plain_model)
        assert refused.exit_code == 1
        assert '"encoded": 30' in refused.output
        assert "in use all the while" in refused.output
        assert "articles has embedding_next; the same command goes on" in refused.output
        assert vectors_are_right(connection, load(connection, "articles", "embedding"))
    switched = gte_pg(dsn, "switch", "articles", "--model", plain_model)
    assert switched.exit_code == 0, switched.output
    assert '"encoded": 0' in switched.output
    assert vectors_are_right(connection, load(connection, "articles", "embedding"))


def test_an_index_that_finds_too_little_does_not_take_over(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    refused = gte_pg(dsn, "switch", "articles", "--model", plain_model, "--least-recall", "1.01")
    assert refused.exit_code == 1
    assert "recall@10 of the new index: 1.000 on 50 rows" in refused.output
    assert load(connection, "articles").declaration == articles.declaration
    assert refused.output.endswith(
        "articles has embedding_next; the same command goes on, or give it up: "
        "gte-pg remove articles --name embedding_next\n"
    )


def test_a_model_that_cannot_be_had_leaves_the_table_as_it_is(
    dsn: str, connection: Connection, articles: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> None:
        raise ModelNotFound(f"the files of {name} are nowhere")

    monkeypatch.setattr("gte_pg.encoder.encoder.locate", fail)
    switch = ("switch", "articles", "--model", "gte-small")
    done = gte_pg(dsn, *switch)
    assert (done.exit_code, done.output) == (1, "Error: the files of gte-small are nowhere\n")
    assert load_all(connection) == [articles]
    assert gte_pg(dsn, *switch, "--print-sql").exit_code == 0


def test_mistakes(dsn: str, connection: Connection, articles: Registered, model: str) -> None:
    same = gte_pg(dsn, "switch", "articles", "--model", model)
    assert "nothing to switch" in same.output
    assert gte_pg(dsn, "switch", "articles").exit_code == 2
    assert "to go back to" in gte_pg(dsn, "switch", "articles", "--back").output


@pytest.mark.parametrize(
    ("taken", "message"),
    [
        ("ALTER TABLE articles ADD embedding_previous text", "a column 'embedding_previous'"),
        ("ALTER TABLE articles ADD embedding_next_hash text", "a column 'embedding_next_hash'"),
        (
            "CREATE TABLE articles_embedding_previous ()",
            'called "public"."articles_embedding_previous"',
        ),
        (
            "CREATE VIEW articles_embedding_next AS SELECT 1",
            'called "public"."articles_embedding_next"',
        ),
    ],
)
def test_a_name_that_another_has_is_no_matter_of_the_last_moment(
    dsn: str,
    connection: Connection,
    articles: Registered,
    plain_model: str,
    taken: str,
    message: str,
) -> None:
    connection.execute(taken.encode())
    done = gte_pg(dsn, "switch", "articles", "--model", plain_model, "--least-recall", "0")
    if taken.startswith("ALTER") == (articles.declaration.layout == "columns"):
        assert message in done.output
        assert [one.declaration.name for one in load_all(connection)] == ["embedding"]
    else:
        assert done.exit_code == 0, done.output


def test_a_name_that_will_be_too_long_is_no_matter_of_the_last_moment(
    dsn: str, connection: Connection, model: str, plain_model: str
) -> None:
    connection.execute(ARTICLES)
    name = "e" * 47
    add_embedding(dsn, connection, "articles", ("title",), model, name=name)
    done = gte_pg(dsn, "switch", "articles", "--name", name, "--model", plain_model)
    assert "under a shorter name" in done.output
    assert len(load_all(connection)) == 1


def test_a_printed_switch_never_takes_search_away(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    switch = ("switch", "articles", "--model", plain_model, "--print-sql")

    def found() -> int:
        return len(gte_pg(dsn, "search", "articles", "title", "--json").stdout.splitlines())

    added = gte_pg(dsn, *switch).stdout
    assert added.splitlines()[-2] == "-- Now encode its rows: gte-pg sync --table articles"
    connection.execute(added.encode())
    assert found() == 10
    refused = gte_pg(dsn, *switch)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "cannot take over yet" in refused.output
    coming = load(connection, "articles", "embedding_next")
    if articles.declaration.companion is not None:
        assert "rows are there" in refused.output
        copy_keys(connection, coming, threading.Event())
    assert "50 rows are not encoded" in gte_pg(dsn, *switch).output
    list(Worker(connection, coming, declared_encoder(coming.declaration)).rounds())
    assert "it has no index articles_embedding_next_dense" in gte_pg(dsn, *switch).output
    drain(connection, coming)
    connection.execute(gte_pg(dsn, *switch).stdout.encode())
    assert found() == 10
    assert "nothing to switch" in gte_pg(dsn, *switch).output


def test_a_query_by_the_former_model_is_refused_and_not_compared_with_other_vectors(
    dsn: str, connection: Connection, articles: Registered
) -> None:
    declared = articles.declaration
    query = encode_query(declared_encoder(declared), declared, "title 7")
    call = gte_search_call(declared, query, 3, Weights(), exact=False).encode()
    assert len(search(connection, articles, query)) == 10
    assert len(connection.execute(call).fetchall()) == 3
    # As many dimensions, the same columns: nothing else tells these vectors from the former ones.
    switched = gte_pg(dsn, "switch", "articles", "--model", declared.model, "--precision", "int8")
    assert switched.exit_code == 0, switched.output
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the vectors are of"):
        search(connection, articles, query)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="the vectors are of"):
        connection.execute(call)


def test_a_search_that_waits_for_the_exchange_is_refused_too(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    declared = articles.declaration
    query = encode_query(declared_encoder(declared), declared, "title 7")
    call = gte_search_call(declared, query, 3, Weights(), exact=True).encode()
    arguments = ("switch", "articles", "--model", declared.model, "--precision", "int8")
    assert gte_pg(dsn, *arguments).exit_code == 0
    assert gte_pg(dsn, "switch", "articles", "--back").exit_code == 0
    present, coming = (load(connection, "articles", f"embedding{end}") for end in ("", "_next"))
    refused: list[str] = []

    def ask() -> None:
        with connect(dsn) as own:
            try:
                own.execute(call)
            except psycopg.errors.ObjectNotInPrerequisiteState as error:
                refused.append(str(error))

    asking = threading.Thread(target=ask)
    with connect(dsn) as switching, switching.transaction():
        for statement in exchange_statements(
            present.declaration,
            "embedding_previous",
            coming.declaration,
            postgres=connection.info.server_version // 10_000,
        ):
            switching.execute(statement)
        asking.start()
        waits = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'articles'::regclass"
        while not connection.execute(waits).fetchall():
            time.sleep(0.01)
    asking.join()
    assert "the vectors are of" in refused[0]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_search_with_a_snapshot_from_before_the_exchange_is_refused_too(
    dsn: str, connection: Connection, articles: Registered, isolation: str
) -> None:
    """It sees the former registry, and the columns as they are called now."""
    declared = articles.declaration
    query = encode_query(declared_encoder(declared), declared, "title 7")
    call = gte_search_call(declared, query, 3, Weights(), exact=False).encode()
    alike = b"SELECT FROM gte.similar('articles', '1')"
    there = ("switch", "articles", "--model", declared.model, "--precision", "int8")
    assert gte_pg(dsn, *there).exit_code == 0
    assert gte_pg(dsn, "switch", "articles", "--back").exit_code == 0
    with connect(dsn) as reader:
        reader.execute(f"BEGIN ISOLATION LEVEL {isolation} READ ONLY".encode())
        reader.execute("SELECT")
        reader.execute("SAVEPOINT begun")
        # Its indexes are there: nothing waits for the reader's snapshot.
        switched = gte_pg(dsn, *there)
        assert switched.exit_code == 0, switched.output
        for ask in (
            lambda: search(reader, articles, query),
            lambda: reader.execute(call),
            lambda: reader.execute(alike),
        ):
            with pytest.raises(psycopg.errors.SerializationFailure, match="exchanged"):
                ask()
            reader.execute("ROLLBACK TO begun")
        reader.rollback()
        reader.execute(f"BEGIN ISOLATION LEVEL {isolation} READ ONLY".encode())
        assert len(reader.execute(alike).fetchall()) == 10
        reader.rollback()


def test_the_rights_on_a_companion_go_along(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    make_role(connection, "gte_pg_test_worker")
    vectors = articles.declaration.vectors.as_string()
    connection.execute(f"GRANT SELECT, UPDATE ON {vectors} TO gte_pg_test_worker".encode())
    assert gte_pg(dsn, "switch", "articles", "--model", plain_model).exit_code == 0
    may = f"SELECT has_table_privilege('gte_pg_test_worker', '{vectors}', 'SELECT, UPDATE')"
    assert connection.execute(may.encode()).fetchone() == (True,)


def test_a_former_model_is_altered_along(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    assert gte_pg(dsn, "switch", "articles", "--model", plain_model).exit_code == 0
    alter = ("alter", "articles", "--name", "embedding", "--source", "title,body")
    assert gte_pg(dsn, *alter).exit_code == 0
    assert gte_pg(dsn, "switch", "articles", "--back").exit_code == 0
    for one in load_all(connection, "articles"):
        assert one.declaration.source == ("title", "body")
        assert (count_broken(connection, one), missing_triggers(connection, one)) == (0, [])


def test_a_worker_that_sleeps_through_the_switch_writes_nothing_of_the_old_model(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder, plain_model: str
) -> None:
    connection.execute("UPDATE articles SET title = title || ' changed'")

    def switch_meanwhile(_texts: list[str]) -> None:
        done = gte_pg(dsn, "switch", "articles", "--model", plain_model)
        assert done.exit_code == 0, done.output
        connection.execute("UPDATE articles SET title = title || '!' WHERE id <= 10")
        # The rows have the same text again as when they were read.
        connection.execute("UPDATE articles SET title = rtrim(title, '!') WHERE id <= 10")

    with connect(dsn) as own:
        sleeping = Worker(own, articles, Interrupted(encoder, switch_meanwhile))
        try:
            written = next(sleeping.rounds()).encoded
        except psycopg.Error:
            written = 0
    assert written == 0
    for one in load_all(connection, "articles"):
        assert count_broken(connection, one) == 0
        drain(connection, one)
    assert vectors_are_right(connection, load(connection, "articles", "embedding"))


def test_who_knows_the_former_model_only_leaves_the_new_index_alone(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    switched = gte_pg(dsn, "switch", "articles", "--model", plain_model, "--dimensions", "32")
    assert switched.exit_code == 0, switched.output
    dense = search_indexes(articles.declaration)[0]
    oid = "SELECT to_regclass('articles_embedding_dense')::oid"
    before = connection.execute(oid).fetchone()
    with pytest.raises(DatabaseError, match="altered, switched or removed"):
        build_index(connection, articles, dense)
    assert connection.execute(oid).fetchone() == before


def test_rows_that_are_pending_in_both_are_not_waited_for(
    dsn: str, connection: Connection, articles: Registered, encoder: Encoder, plain_model: str
) -> None:
    def refuse(texts: list[str]) -> None:
        if "unheard of" in texts:
            raise EncodingError("not this one")

    connection.execute("UPDATE articles SET title = 'unheard of' WHERE id = 7")
    list(Worker(connection, articles, Interrupted(encoder, refuse)).rounds())
    assert status(connection, articles).parked == 1
    coming = add_embedding_next(dsn, connection, articles, plain_model)
    pair = (articles.declaration, coming.declaration)
    assert count_lost(connection, *pair, since=clock(connection)) == 49
    other = Interrupted(declared_encoder(coming.declaration), refuse)
    list(Worker(connection, coming, other).rounds())
    assert status(connection, coming).parked == 1
    assert count_lost(connection, *pair, since=clock(connection)) == 0
    switched = gte_pg(dsn, "switch", "articles", "--model", plain_model)
    assert switched.exit_code == 0, switched.output


def test_a_table_that_is_written_all_the_while_is_switched(
    dsn: str, connection: Connection, articles: Registered, plain_model: str
) -> None:
    stop = threading.Event()
    watching = threading.Thread(target=lambda: list(watch(Team(dsn, stop), load_all)))
    watching.start()
    try:
        with written_all_the_while(dsn, pause=0.003):
            for model in (plain_model, articles.declaration.model):
                switched = gte_pg(dsn, "switch", "articles", "--model", model)
                assert switched.exit_code == 0, switched.output
                removed = gte_pg(dsn, "remove", "articles", "--name", "embedding_previous")
                assert removed.exit_code == 0, removed.output
        wait = "SELECT gte.wait_until_synced('articles', '30 s')"
        assert connection.execute(wait).fetchone() == (True,), "the watcher follows"
    finally:
        stop.set()
        watching.join()
    present = load(connection, "articles")
    assert vectors_are_right(connection, present)
    assert count_broken(connection, present) == 0
