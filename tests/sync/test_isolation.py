"""A database whose transactions are stricter by default: not those of the workers, nor of alter."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from psycopg import sql

from gte_pg.cli import main
from gte_pg.database import Connection, connect
from gte_pg.declaration import Layout
from gte_pg.sync import count_broken
from tests.tables import ARTICLES, add_embedding, drain

_REFUSAL = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'written in a transaction that is %', current_setting('transaction_isolation');
    END IF;
    RETURN NEW;
END
$body$
"""


@pytest.mark.parametrize("layout", ["columns", "companion"])
@pytest.mark.parametrize("default", ["repeatable read", "serializable"])
def test_a_write_back_is_read_committed(
    dsn: str, connection: Connection, model: str, layout: Layout, default: str
) -> None:
    change = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}")
    name = sql.Identifier(connection.info.dbname)
    connection.execute(change.format(name, sql.Literal(default)))
    with connect(dsn) as own:
        assert own.execute("SHOW transaction_isolation").fetchone() == (default,)
        own.execute(ARTICLES)
        own.execute("INSERT INTO articles VALUES (1, 'a cat'), (2, 'a dog'), (3, NULL)")
        registered = add_embedding(dsn, own, "articles", ("title",), model, layout=layout)
        vectors = registered.declaration.vectors.as_string()
        own.execute(_REFUSAL)
        own.execute(
            f"CREATE TRIGGER refuse BEFORE UPDATE ON {vectors} "
            "FOR EACH ROW EXECUTE FUNCTION refuse()".encode()
        )
        done = drain(own, registered)
        assert (done.encoded, done.left) == (2, 0)
        assert count_broken(own, registered) == 0
        altered = CliRunner().invoke(main, ["alter", "articles", "--source", "body", "--dsn", dsn])
        assert altered.exit_code == 0, altered.output
