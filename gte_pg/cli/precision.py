"""The option that chooses a model's precision."""

from __future__ import annotations

import click

__all__ = ["precision_option"]

precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "int8"]),
    default="float32",
    show_default=True,
    help="int8 is about twice as fast; its vectors do not mix with those of float32.",
)
