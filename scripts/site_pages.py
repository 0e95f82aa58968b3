"""The pages of the documentation site that are written nowhere: MkDocs asks for them when it builds.

The overview is the README, whose links lead to the pages. The commands' page is what each command
answers to --help.
"""

from __future__ import annotations

import re
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from gte_pg.cli import main

_WIDTH = 84


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the two pages to those in docs/; MkDocs calls this."""
    readme = Path(config.docs_dir).with_name("README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=overview(readme)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def overview(readme: str) -> str:
    """Return the README as a page: links to docs/ lead to the other pages, those to files nowhere."""
    page = readme.replace("](docs/", "](")
    return re.sub(r"\[([^]]+)\]\((?!https:|[\w-]+\.md\))[^)]+\)", r"`\1`", page)


def commands() -> str:
    """Return the page of all commands, in the order of gte-pg --help."""
    parts = ["# Commands", "What each command says of itself with `--help`.", _help("gte-pg", main)]
    parts += [_section(f"gte-pg {name}", command) for name, command in main.commands.items()]
    return "\n\n".join(parts)


def _section(name: str, command: click.Command, level: str = "##") -> str:
    parts = [f"{level} {name}", _help(name, command)]
    if isinstance(command, click.Group):
        parts += [
            _section(f"{name} {sub}", one, f"{level}#") for sub, one in command.commands.items()
        ]
    return "\n\n".join(parts)


def _help(name: str, command: click.Command) -> str:
    context = click.Context(
        command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH
    )
    return f"```text\n{command.get_help(context)}\n```"
