"""The example application, started by the commands in its README, for the tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "mending"

README = (FOLDER / "README.md").read_text(encoding="utf-8")

SETTING_UP, STARTING = (
    [line.partition("  #")[0] for line in block.splitlines()]
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
)

_URL = re.compile(r"running on (http://\S+)")


def environment(dsn: str) -> dict[str, str]:
    """Return what the commands run with: the environment of these tests, and a database."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return os.environ | {"DATABASE_URL": dsn, "PATH": path}


def run(command: str, dsn: str) -> str:
    """Run a command in the example's folder, which must succeed; its output."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=FOLDER,
        env=environment(dsn),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


@contextmanager
def serving(dsn: str) -> Iterator[str]:
    """Run every line of the README's second block, the last for as long as the context lasts; its URL."""
    *before, serve = STARTING
    for line in before:
        run(line, dsn)
    process = subprocess.Popen(
        ["bash", "-c", f"exec {serve} --port 0"],
        cwd=FOLDER,
        env=environment(dsn),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := _URL.search(line):
                yield found[1]
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        process.terminate()
        process.communicate()
