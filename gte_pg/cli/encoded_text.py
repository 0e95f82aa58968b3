"""What is encoded is said in one of three ways, to the commands that take it."""

from __future__ import annotations

import click


def says_what_is_encoded(
    sources: tuple[str, ...], template: str | None, expression: str | None
) -> bool:
    """Whether one of the three is given. Raises UsageError where several are."""
    given = {
        "--source": bool(sources),
        "--template": template is not None,
        "--expression": expression is not None,
    }
    named = [option for option, is_given in given.items() if is_given]
    if len(named) > 1:
        raise click.UsageError(
            "only one of --source, --template and --expression says what is encoded: "
            f"{' and '.join(named)} are given"
        )
    return bool(named)
