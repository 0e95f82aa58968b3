"""Databases that are not in UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

import gte_pg.database
from gte_pg.database import connect, engine, ensure_schema
from gte_pg.declaration import Layout
from gte_pg.encoder import Encoded, Encoder
from gte_pg.errors import DatabaseError, EncodingError
from gte_pg.search import encode_query, search
from gte_pg.sync import Worker, count_broken, list_failures, status
from tests.tables import ARTICLES, Interrupted, add_embedding

TEXTS = {"LATIN1": "un café à Noël", "EUC_JP": "東京の天気", "WIN1251": "погода в Москве"}


@contextmanager
def database_in(server: str, encoding: str) -> Iterator[str]:
    name = f"gte_pg_test_{os.getpid()}_{encoding.lower()}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LOCALE 'C'")
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(drop)
        connection.execute(create.format(sql.Identifier(name), sql.Literal(encoding)))
        try:
            yield make_conninfo(server, dbname=name)
        finally:
            connection.execute(drop)


@pytest.mark.parametrize("layout", ["columns", "companion"])
@pytest.mark.parametrize("encoding", TEXTS)
def test_texts_are_encoded_and_found(
    server: str, model: str, encoder: Encoder, encoding: str, layout: Layout
) -> None:
    def refuse(texts: list[str]) -> None:
        if "refused" in texts:
            raise EncodingError("what no other encoding has: … ✗ 😀", index=texts.index("refused"))

    with database_in(server, encoding) as dsn:
        with engine(dsn).begin() as transaction:
            ensure_schema(transaction)
        with connect(dsn) as connection:
            connection.execute(ARTICLES)
            rows = "INSERT INTO articles VALUES (1, %s), (2, 'plain'), (3, 'refused')"
            connection.execute(rows, (TEXTS[encoding],))
            registered = add_embedding(
                dsn, connection, "articles", ("title",), model, layout=layout
            )
            for _ in Worker(connection, registered, Interrupted(encoder, refuse)).rounds():
                pass
            assert count_broken(connection, registered) == 0
            assert (status(connection, registered).encoded) == 2
            (failure,) = list_failures(connection, registered, most=9)
            assert "what no other encoding has: \\u2026" in failure.error
            query = encode_query(encoder, registered.declaration, TEXTS[encoding])
            (first, *_) = search(connection, registered, query)
            assert first.key == {"id": 1}
            assert first.dense == pytest.approx(1, abs=1e-5)
            expected: Encoded = encoder.encode([TEXTS[encoding]])
            assert expected.sparse is not None
            weights = expected.sparse[0][1]
            assert first.sparse == pytest.approx(float(weights @ weights), abs=1e-4)


def test_a_database_that_knows_no_characters_is_refused(server: str) -> None:
    with (
        database_in(server, "SQL_ASCII") as dsn,
        pytest.raises(DatabaseError, match="encoding is SQL_ASCII"),
        engine(dsn).begin() as transaction,
    ):
        ensure_schema(transaction)


def test_what_is_sent_to_any_database_is_ascii() -> None:
    package = Path(gte_pg.database.__file__).parents[1]
    files = [*package.rglob("*.sql"), *(package.parent / "migrations").rglob("*.py")]
    assert len(files) > 5
    for file in files:
        assert file.read_text(encoding="utf-8").isascii(), file
