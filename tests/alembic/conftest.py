from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gte_pg.database import Connection, connect
from tests.alembic.application import Application


@pytest.fixture
def application(empty_dsn: str, tmp_path: Path) -> Iterator[Application]:
    made = Application(empty_dsn, tmp_path / "migrations")
    yield made
    made.engine.dispose()


@pytest.fixture
def reader(application: Application) -> Iterator[Connection]:
    """An autocommit connection to the application's database."""
    with connect(application.dsn) as connection:
        yield connection
