"""The documentation site: it builds without a warning, and holds every public name and command."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import click
import pytest

import gte_pg
from gte_pg.cli import main

pytest.importorskip("mkdocs", reason="the docs extra is not installed: pip install -e '.[docs]'")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def text(page: Path) -> str:
    """Return what a page says, without its tags."""
    return unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_public_name_is_in_the_reference_once() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: gte_pg\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(gte_pg.__all__)


def test_the_reference_shows_signatures_and_examples(site: Path) -> None:
    page = text(site / "api" / "index.html")
    assert '>>> wait_until_synced(connection, "articles", timeout=10)' in page
    assert "sparse_weight: float = 0.1" in page
    # An example that is not indented below prose would become a quotation.
    assert "<blockquote" not in (site / "api" / "index.html").read_text(encoding="utf-8")


def test_every_option_of_every_command_is_on_its_page(site: Path) -> None:
    page = text(site / "commands" / "index.html")

    def look(name: str, command: click.Command) -> int:
        assert f"Usage: {name} " in page
        for option in (option for one in command.params for option in one.opts):
            if option.startswith("-"):
                assert option in page, (name, option)
        inner = command.commands.items() if isinstance(command, click.Group) else ()
        return 1 + sum(look(f"{name} {sub}", one) for sub, one in inner)

    assert look("gte-pg", main) > len(main.commands)


def test_the_overview_is_the_readme(site: Path) -> None:
    page = text(site / "index.html")
    for heading in re.findall(r"^## (.+)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE):
        assert heading in page


def test_the_site_needs_no_other_host(site: Path) -> None:
    for page in site.rglob("*.html"):
        fetched = re.findall(
            r'<(?:script|img|iframe)[^>]+src="([^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="([^"]+)"',
            page.read_text(encoding="utf-8"),
        )
        assert fetched
        assert not [one for pair in fetched for one in pair if "//" in one]
