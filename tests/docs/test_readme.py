"""The README's commands and examples, run as they stand there."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from gte_pg.cli import main
from gte_pg.database import connect, engine, load
from gte_pg.encoder import load_encoder
from gte_pg.search import encode_query

ROOT = Path(__file__).parents[2]

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if "gte-pg " in line]


FIRST_TABLE, *PROGRAMS = blocks("python")


@pytest.fixture
def articles_dsn(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The database with the README's table, made as a newcomer makes it in the embedded server."""
    with monkeypatch.context() as patch:
        patch.setattr("gte_pg.database.start_embedded", lambda: empty_dsn)
        exec(compile(FIRST_TABLE, "README.md", "exec", dont_inherit=True), {})
    return empty_dsn


@pytest.mark.model
def test_the_commands_work_in_their_order(articles_dsn: str) -> None:
    environment = os.environ | {
        "GTE_PG_DSN": articles_dsn,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    ran = 0
    for line in shell_lines():
        if line.startswith(("pip", "make", "export")):
            continue
        done = subprocess.run(
            ["bash", "-c", line], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stderr)
        if "--limit 3 --json" in line:
            assert '"id": 1' in done.stdout.splitlines()[0]
        ran += 1
    assert ran >= 9


@pytest.mark.model
def test_the_sql_works(articles_dsn: str) -> None:
    model = "all-MiniLM-L6-v2"
    runner = CliRunner()
    for arguments in (
        ["add", "articles", "--source", "title,body", "--model", model, "--dsn", articles_dsn],
        ["sync", "--dsn", articles_dsn],
    ):
        assert runner.invoke(main, arguments).exit_code == 0
    (statement,) = blocks("sql")
    with connect(articles_dsn) as connection:
        declaration = load(connection, "articles").declaration
        query = encode_query(load_encoder(model), declaration, "cheap flights")
        rows = connection.execute(
            re.sub(r"\$\d", "%s", statement).encode(), (query.dense, query.sparse)
        ).fetchall()
        assert next(key for key, *_ in rows) == {"id": 1}
        printed = runner.invoke(
            main, ["search", "articles", "cheap flights", "--print-sql", "--dsn", articles_dsn]
        )
        assert connection.execute(printed.stdout.encode()).fetchall() == rows


@pytest.mark.model
def test_the_python_works(empty_dsn: str) -> None:
    names: dict[str, object] = {"engine": engine(empty_dsn)}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for block in PROGRAMS:
            exec(compile(block, "README.md", "exec", dont_inherit=True), names)
    assert printed.getvalue().splitlines()[0].endswith("The Old Man and the Sea")
    assert isinstance(names["notes"], sa.Table)


def test_every_command_is_in_the_readme_and_has_help() -> None:
    for name, command in main.commands.items():
        assert f"gte-pg {name}" in README, name
        assert command.help, name
        for parameter in command.params:
            if "--help" not in parameter.opts and parameter.opts[0].startswith("--"):
                assert CliRunner().invoke(main, [name, "--help"]).exit_code == 0


def test_every_option_in_the_readme_exists() -> None:
    for line in [*shell_lines(), *re.findall(r"`(gte-pg [^`]+)`", README)]:
        for part in line.partition("#")[0].split("|"):
            words = part.split()
            if words[:1] != ["gte-pg"] or words[1].startswith("-"):
                continue
            options = {option for one in main.commands[words[1]].params for option in one.opts}
            assert {word for word in words if word.startswith("--")} <= options, line


def test_the_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_to_files_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
