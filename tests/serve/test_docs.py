"""The requests in docs/serve.md, run as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gte_pg.cli.serve import serve
from gte_pg.database import Connection
from tests.serve.server import serving
from tests.tables import ARTICLES, add_embedding, drain

DOCS = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")


@pytest.mark.model
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_requests_work(dsn: str, connection: Connection) -> None:
    connection.execute(ARTICLES)
    connection.execute(
        "INSERT INTO articles VALUES (1, 'Fly to Berlin'), (2, 'Cooking with beans')"
    )
    added = add_embedding(dsn, connection, "articles", ("title", "body"), "all-MiniLM-L6-v2")
    drain(connection, added)
    with serving(dsn, "--model", "all-MiniLM-L6-v2") as server:
        answers = [
            subprocess.run(
                ["bash", "-c", line.replace(":8100", f":{server.port}")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for line in re.findall(r"^curl .*", DOCS, re.MULTILINE)
        ]
    search, vectors, embeddings, sparse = map(json.loads, answers)
    assert search["rows"][0]["key"] == {"id": 1}
    assert set(vectors) == {"dense", "sparse"}
    assert len(embeddings["data"]) == 2
    assert set(sparse["data"][0]["weights"]) == {"cheap", "flights"}


def test_every_option_in_the_docs_exists() -> None:
    options = {option for parameter in serve.params for option in parameter.opts}
    foreign = {"--json"}  # curl's, and that of gte-pg search
    assert set(re.findall(r"--[a-z][a-z-]*", DOCS)) - foreign <= options
