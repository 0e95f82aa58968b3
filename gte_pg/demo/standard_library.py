"""The demo's text: the docstrings of the running Python's standard library.

Some five thousand rows of real English that every machine with Python already holds: one for each
public module, function, class and method that says something about itself. Rows depend on the
Python version and on which C extensions were built; for one interpreter they are always the same.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gte_pg.errors import GtePgError

__all__ = ["Docstring", "standard_library"]

PROGRAM = Path(__file__).with_name("docstring_walk.py")
TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Docstring:
    """One documented thing; `(module, name)` is unique and a module's own name is `""`."""

    module: str
    name: str
    signature: str
    doc: str


def standard_library() -> list[Docstring]:
    """Read all docstrings, modules first and then by name; blocks for about a second.

    A child process does the importing, so that the caller's process keeps its state; raises
    `GtePgError` where the child fails.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter, this package's own file
            [sys.executable, "-P", "-s", "-S", "-W", "ignore", str(PROGRAM)],
            env={**environment, "PYTHONHASHSEED": "0"},  # sets stand in some signatures
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise GtePgError(
            f"Cannot read the standard library's docstrings: {error}. "
            f"Run '{sys.executable} {PROGRAM}' to see why."
        ) from error
    return [Docstring(*json.loads(line)) for line in done.stdout.splitlines()]
