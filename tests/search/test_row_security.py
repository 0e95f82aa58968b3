"""Row-level security: a tenant finds the best of what it may see, quickly, and learns of nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from gte_pg.database import Connection, Registered, connect, load
from gte_pg.encoder import Encoder
from gte_pg.search import Weights, encode_query, search
from tests.postgres import new_database
from tests.search.articles import QUERIES, WEIGHTS, executed, fill, plan_of, reference, stored
from tests.tables import add_embedding, drain, dsn_of

# Roles belong to the whole server.
READER = f"gte_pg_test_reader_{os.getpid()}"
STRANGER = f"gte_pg_test_stranger_{os.getpid()}"
OWNER = f"gte_pg_test_owner_{os.getpid()}"
NEWCOMER = f"gte_pg_test_newcomer_{os.getpid()}"

_POLICY = """
ALTER TABLE articles ADD COLUMN tenant text;
UPDATE articles SET tenant = CASE WHEN id % 3 = 0 THEN 'blue' WHEN id % 100 = 1 THEN 'small' ELSE 'red' END;
CREATE INDEX ON articles (tenant);
ALTER TABLE articles ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenants ON articles USING (tenant = current_setting('app.tenant', true));
"""


@pytest.fixture(scope="module")
def roles(server: str) -> Iterator[None]:
    with connect(server) as connection:
        for role in (READER, STRANGER, OWNER, NEWCOMER):
            connection.execute(f"CREATE ROLE {role}".encode())
    yield
    with connect(server) as connection:
        for role in (READER, STRANGER, OWNER, NEWCOMER):
            connection.execute(f"DROP ROLE {role}".encode())


@pytest.fixture(scope="module", params=["columns", "companion"])
def tenants(
    server: str, template: str, model: str, roles: None, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The DSN of a database where three tenants share a table of 3,000 articles."""
    with new_database(server, template) as name:
        dsn = make_conninfo(server, dbname=name)
        with connect(dsn) as connection:
            fill(connection)
            connection.execute(_POLICY)
            connection.execute(f"GRANT SELECT ON articles TO {READER}, {NEWCOMER}".encode())
            connection.execute(
                f"GRANT EXECUTE ON FUNCTION gte.rows_past_policies TO {READER}, {STRANGER}".encode()
            )
            registered = add_embedding(
                dsn, connection, "articles", ("title",), model, layout=request.param
            )
            drain(connection, registered)
            connection.execute("VACUUM ANALYZE")
        yield dsn


@pytest.fixture
def connection(tenants: str) -> Iterator[Connection]:
    with connect(tenants) as connection:
        yield connection


@pytest.fixture
def articles(connection: Connection) -> Registered:
    return load(connection, "articles")


@contextmanager
def tenant(connection: Connection, name: str, role: str = READER) -> Iterator[None]:
    """The connection is that tenant's, of an ordinary role."""
    connection.execute("SELECT set_config('app.tenant', %s, false)", (name,))
    connection.execute(f"SET ROLE {role}".encode())
    try:
        yield
    finally:
        connection.execute("RESET ROLE")


def ids_of(connection: Connection, name: str) -> set[int]:
    rows = connection.execute("SELECT id FROM articles WHERE tenant = %s", (name,)).fetchall()
    return {key for (key,) in rows}


@pytest.mark.parametrize("name", ["red", "blue", "small"])
@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_a_tenant_finds_the_best_of_its_own_rows(
    connection: Connection, articles: Registered, encoder: Encoder, name: str, weights: Weights
) -> None:
    own = ids_of(connection, name)
    rows = stored(connection, articles.declaration)
    for text in QUERIES:
        query = encode_query(encoder, articles.declaration, text)
        truth = reference(rows, query, weights)
        best = sorted((truth[key][0] for key in own), reverse=True)[:10]
        if weights.dense == 0:
            best = [score for score in best if score > 0]
        with tenant(connection, name):
            hits = search(connection, articles, query, weights=weights)
            called = connection.execute(
                "SELECT (key->>'id')::int, complete FROM gte.search('articles', %s, %s, "
                "dense_weight => %s, sparse_weight => %s)",
                (query.dense, query.sparse, weights.dense, weights.sparse),
            ).fetchall()
        assert {hit.key["id"] for hit in hits} <= own
        assert [hit.score for hit in hits] == pytest.approx(best, abs=1e-5)
        assert all(hit.complete for hit in hits)
        assert called == [(hit.key["id"], True) for hit in hits]


def test_the_token_index_is_used_and_no_row_is_keyed_by_the_query(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "database кот")
    with tenant(connection, "red"):
        plan = plan_of(connection, articles, query, Weights(0, 1))
    vectors = articles.declaration.vectors.as_string().rpartition(".")[2].strip('"')
    assert not any("sparse_keys" in line for line in plan)
    assert executed(plan, f"Tid Scan on {vectors}")[0]
    assert not any(executed(plan, f"Seq Scan on {vectors}"))


def test_without_a_tenant_there_is_nothing(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    with tenant(connection, ""):
        for exact in (True, False):
            assert search(connection, articles, query, exact=exact) == []
        with pytest.raises(psycopg.errors.NoDataFound):
            connection.execute("SELECT gte.similar('articles', '1')")


def test_a_row_of_another_tenant_is_as_good_as_none(
    connection: Connection, articles: Registered
) -> None:
    """The error for a row that may not be seen is the error for a row that is not there."""
    (red,) = sorted(ids_of(connection, "red"))[:1]
    with tenant(connection, "blue"):
        for key in (red, 999_999):
            with pytest.raises(psycopg.errors.NoDataFound, match=f"no row with the key {key}"):
                connection.execute("SELECT gte.similar('articles', %s)", (str(key),))
        found = connection.execute("SELECT found_key FROM gte.similar('articles', '3')").fetchall()
    assert {key["id"] for (key,) in found} <= ids_of(connection, "blue")


def test_a_stranger_learns_nothing(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    """Who may not read the table sees neither rows, nor how common a token is."""
    query = encode_query(encoder, articles.declaration, "cat")
    (key,) = connection.execute("SELECT key FROM gte.key_frequency LIMIT 1").fetchone() or (0,)
    past = f"SELECT tids FROM gte.rows_past_policies({articles.id}, ARRAY[{key}])".encode()
    assert connection.execute(past).fetchone() != (None,)
    with tenant(connection, "red"):
        assert connection.execute(past).fetchone() != (None,)
        assert connection.execute("SELECT FROM gte.visible_key_frequency").fetchall()
    with tenant(connection, "red", STRANGER):
        assert connection.execute(past).fetchone() == (None,)
        assert connection.execute("SELECT FROM gte.visible_key_frequency").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM gte.key_frequency")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            search(connection, articles, query)


def test_what_an_owner_puts_on_a_table_does_not_run_with_the_rights_of_gte_pg(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    """A function in the expression of an index is called whenever a statement is planned."""
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    vectors = articles.declaration.vectors.as_string()
    past = f"SELECT tids FROM gte.rows_past_policies({articles.id}, ARRAY[1])".encode()
    owned = f"ALTER TABLE articles OWNER TO {{0}}; ALTER TABLE {vectors} OWNER TO {{0}};"
    connection.execute(
        f"""
        {owned.format(OWNER)}
        CREATE SCHEMA hers AUTHORIZATION {OWNER};
        GRANT USAGE ON SCHEMA hers TO PUBLIC;
        GRANT CREATE ON SCHEMA public TO {OWNER};
        SET ROLE {OWNER};
        CREATE FUNCTION hers.act(number int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
            IF current_user NOT IN ('{OWNER}', '{READER}') THEN
                RAISE 'called as %', current_user;
            END IF;
            RETURN number;
        END $$;
        CREATE INDEX hers ON {vectors} ((id + hers.act(1)));
        RESET ROLE;
    """.encode()
    )
    try:
        with connect(dsn_of(connection)) as fresh, tenant(fresh, "red"):
            assert fresh.execute(past).fetchone() == (None,)
            hits = search(fresh, articles, query)
            assert hits == search(fresh, articles, query, exact=True) != []
    finally:
        connection.execute(
            f"""
            DROP SCHEMA hers CASCADE;
            {owned.format("CURRENT_USER")}
            REVOKE CREATE ON SCHEMA public FROM {OWNER};
        """.encode()
        )


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_who_was_granted_nothing_finds_the_same_and_learns_of_no_token(
    connection: Connection, articles: Registered, encoder: Encoder, weights: Weights
) -> None:
    """Who speaks SQL to the database could ask for one token after the other, of rows of others too."""
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    with tenant(connection, "red", NEWCOMER):
        hits = search(connection, articles, query, weights=weights)
        exact = search(connection, articles, query, weights=weights, exact=True)
        assert connection.execute("SELECT FROM gte.visible_key_frequency").fetchall() == []
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT gte.rows_past_policies(1, '{}')")
    assert hits == exact
    assert all(hit.complete for hit in hits)


def test_forced_row_security_holds_for_the_owner(
    connection: Connection, articles: Registered, encoder: Encoder
) -> None:
    query = encode_query(encoder, articles.declaration, "a cat on the mat")
    red = ids_of(connection, "red")
    vectors = articles.declaration.vectors.as_string()
    connection.execute("BEGIN")
    for table in {"articles", vectors}:
        connection.execute(f"ALTER TABLE {table} OWNER TO {READER}".encode())
    connection.execute("ALTER TABLE articles FORCE ROW LEVEL SECURITY")
    with tenant(connection, "red"):
        hits = search(connection, articles, query)
        exact = search(connection, articles, query, exact=True)
    # And where the functions' owner is bound by it as well, nothing goes past the policies.
    connection.execute(f"ALTER FUNCTION gte.rows_past_policies OWNER TO {READER}".encode())
    with tenant(connection, "red"):
        bound = search(connection, articles, query)
    connection.execute("ROLLBACK")
    assert hits == exact == bound
    assert {hit.key["id"] for hit in hits} <= red
