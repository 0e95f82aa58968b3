from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from tests.examples.mending import serving
from tests.postgres import new_database


@pytest.fixture(scope="module")
def mending_dsn(server: str) -> Iterator[str]:
    """A database for the example application, as a URL."""
    with new_database(server, "template1") as name:
        given = {key: str(value) for key, value in conninfo_to_dict(server).items()}
        url = sa.URL.create(
            "postgresql",
            username=given.pop("user", None),
            password=given.pop("password", None),
            database=name,
            query={key: value for key, value in given.items() if key != "dbname"},
        )
        yield url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def mending(mending_dsn: str) -> Iterator[str]:
    """The URL of the example application."""
    with serving(mending_dsn) as url:
        yield url
