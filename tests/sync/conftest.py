from __future__ import annotations

import pytest

from gte_pg.database import Connection, Registered
from tests.tables import ARTICLES, add_embedding


@pytest.fixture(params=["columns", "companion"])
def articles(
    dsn: str, connection: Connection, model: str, request: pytest.FixtureRequest
) -> Registered:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 20) n")
    return add_embedding(
        dsn, connection, "articles", ("title", "body"), model, layout=request.param
    )
