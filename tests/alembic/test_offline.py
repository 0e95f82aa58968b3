"""`alembic upgrade --sql`: what it prints does in psql what the migration does."""

from __future__ import annotations

import subprocess

import pytest

from gte_pg.database import Connection, load_all
from gte_pg.declaration import Layout
from gte_pg.install import prepare_database
from tests.alembic.application import Application, articles, embedding, encode, fill, is_sound


def version(connection: Connection) -> str:
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("layout", ["columns", "companion"])
def test_the_printed_statements_do_the_same(
    application: Application, reader: Connection, layout: Layout
) -> None:
    first = articles(embedding("title", "body", layout=layout))
    application.revise(first)
    with pytest.raises(psycopg.errors.RaiseException, match="gte-pg init"):
        application.run_printed("head")
    with application.engine.begin() as transaction:
        prepare_database(transaction)
    application.run_printed("head")
    assert application.differences(first) == []
    fill(reader)
    encode(reader)
    assert is_sound(reader)
    second = articles(embedding(template="{title} & {body}", layout=layout, on_change="keep"))
    application.revise(second)
    application.run_printed(f"{version(reader)}:head")
    assert application.differences(second) == []
    assert is_sound(reader)
    application.run_printed(f"{version(reader)}:base")
    assert load_all(reader) == []
