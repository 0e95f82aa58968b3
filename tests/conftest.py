from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from gte_pg.declaration import Layout
from gte_pg.encoder import Encoder, load_encoder

pytest_plugins = ["tests.postgres"]

DATA = Path(__file__).parent / "data"


def pytest_configure() -> None:
    # A shell that runs the tests in the background has Ctrl-C ignored, by us and by what we start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    # A part of each test is waiting: for a server that starts, a lock, a moment that has to pass.
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def model() -> str:
    """The directory of a small real model with token weights."""
    return str(DATA / "golden" / "new_ntk")


@pytest.fixture(scope="session")
def plain_model() -> str:
    """The directory of a small real model without token weights."""
    return str(DATA / "golden" / "bert_mean")


@pytest.fixture(scope="session")
def encoder(model: str) -> Encoder:
    return load_encoder(model)


@pytest.fixture(params=["columns", "companion"])
def layout(request: pytest.FixtureRequest) -> Layout:
    found: Layout = request.param
    return found
