"""How far a sync is: a bar for whoever looks at a terminal, lines for whoever reads stdout."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import threading

import pytest

from gte_pg.database import Connection
from tests.tables import ARTICLES, add_embedding


@pytest.fixture
def articles(dsn: str, connection: Connection, model: str) -> None:
    """Forty rows that are pending, and two that have no text."""
    connection.execute(ARTICLES)
    connection.execute("INSERT INTO articles SELECT n, 'title ' || n FROM generate_series(1, 40) n")
    connection.execute("INSERT INTO articles VALUES (41, ''), (42, NULL)")
    add_embedding(dsn, connection, "articles", ("title",), model)


def sync_on_a_terminal(dsn: str, *, stdout: int | None = None) -> tuple[str, str]:
    """Run `gte-pg sync` there, its stdout perhaps elsewhere; what is seen, and what came of stdout."""
    seen: list[bytes] = []
    terminal, end = pty.openpty()

    def look() -> None:
        try:
            while read := os.read(terminal, 4096):
                seen.append(read)
        except OSError:
            pass  # nobody has the other end any more

    looking = threading.Thread(target=look)
    looking.start()
    with subprocess.Popen(
        [sys.executable, "-m", "gte_pg", "sync", "--batch", "2", "--dsn", dsn],
        env=os.environ | {"COLUMNS": "200", "TERM": "xterm"},
        stdout=end if stdout is None else stdout,
        stderr=end,
    ) as done:
        os.close(end)
        lines, _ = done.communicate(timeout=60)
    looking.join()
    os.close(terminal)
    assert done.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", b"".join(seen).decode()), (lines or b"").decode()


def test_a_terminal_shows_a_bar_with_its_rate_and_the_time_that_is_left(
    dsn: str, articles: None
) -> None:
    seen, _ = sync_on_a_terminal(dsn)
    assert "encoding public.articles: embedding" in seen
    assert re.search(r"\b[1-3]?\d/42 [\d,]+ rows/s \d:\d\d:\d\d", seen), seen[-500:]
    assert "building the index articles_embedding_dense" in seen
    assert re.search(r"40/40 [\d,]+ rows/s 0:00:00\s*$", seen), seen[-500:]
    assert '"stage"' not in seen


def test_a_program_that_reads_stdout_gets_lines_on_a_terminal_too(dsn: str, articles: None) -> None:
    seen, lines = sync_on_a_terminal(dsn, stdout=subprocess.PIPE)
    assert "rows/s" not in seen
    stages = [json.loads(line)["stage"] for line in lines.splitlines()]
    assert ("encoding" in stages, stages[-1]) == (True, "done")


def test_a_name_in_brackets_is_no_markup_of_the_bar(
    dsn: str, connection: Connection, model: str
) -> None:
    connection.execute('CREATE TABLE "[/x]" (id int PRIMARY KEY, title text)')
    add_embedding(dsn, connection, '"[/x]"', ("title",), model)
    seen, _ = sync_on_a_terminal(dsn)
    assert 'public."[/x]": embedding' in seen
