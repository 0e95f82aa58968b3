"""`--print-sql`: what a command would run, for a person to read or to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click
from psycopg import sql


def print_named(statements: Mapping[str, sql.Composable]) -> None:
    """Print statements, each under a comment that says what it is for."""
    for purpose, statement in statements.items():
        print_comment(purpose)
        click.echo(f"{statement.as_string().strip()};\n")


def print_comment(text: str) -> None:
    """Print what is not to be run, as a comment of SQL."""
    for line in text.splitlines():
        click.echo(f"-- {line}")


def print_statements(statements: Iterable[sql.Composable]) -> None:
    """Print statements as one transaction, each ended by a semicolon."""
    click.echo("BEGIN;")
    for statement in statements:
        click.echo(f"{statement.as_string().strip()};")
    click.echo("COMMIT;")
