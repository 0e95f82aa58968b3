from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.server import NOWHERE, Server, serving


@pytest.fixture(scope="module")
def encoding_server(model: str, plain_model: str) -> Iterator[Server]:
    """A server without a database, for what needs none; it offers both models."""
    with serving(NOWHERE, "--model", model, "--model", plain_model) as server:
        yield server
