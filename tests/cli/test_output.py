"""Where nothing can be printed, a command says so."""

from __future__ import annotations

import os
import subprocess
import sys

from gte_pg.database import Connection
from tests.tables import ARTICLES, add_embedding


def test_it_cannot_be_written(dsn: str, connection: Connection, model: str) -> None:
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles VALUES (1, 'a cat', 'on a mat')")
    add_embedding(dsn, connection, "articles", ("title",), model)
    for command, told in (
        ("sync >/dev/full", "Error: cannot write to stdout: No space left on device\n"),
        (
            "search articles cat >/dev/full",
            "Error: cannot write to stdout: No space left on device\n",
        ),
        ("sync --watch >&-", "Error: stdout is closed: send it to a file, or to /dev/null\n"),
    ):
        done = subprocess.run(
            ["bash", "-c", f"{sys.executable} -m gte_pg {command}"],
            env=os.environ | {"GTE_PG_DSN": dsn},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (1, told)
