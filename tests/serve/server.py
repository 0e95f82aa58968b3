"""A real `gte-pg serve` process for the tests, and a client of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

NOWHERE = "host=127.0.0.1 port=1 connect_timeout=1"

_URL = re.compile(r"serving on (\S+)")


@dataclass
class Server:
    process: subprocess.Popen[str]
    client: httpx.Client
    stderr: list[str]

    @property
    def port(self) -> int:
        port = self.client.base_url.port
        assert port is not None
        return port

    def post(self, path: str, fields: object, **options: Any) -> httpx.Response:
        return self.client.post(path, json=fields, **options)

    def answer(self, path: str, fields: object) -> Any:
        """Return the JSON of an answer that must be 200."""
        response = self.post(path, fields)
        assert response.status_code == 200, response.text
        return response.json()

    def error(self, path: str, fields: object, status: int) -> dict[str, Any]:
        """Return the error of an answer that must have `status`, in OpenAI's shape."""
        response = self.post(path, fields)
        assert response.status_code == status, response.text
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return dict(error)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels; 0 where there is none yet."""
        text = self.client.get("/metrics").text
        found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gte_pg", "serve", *arguments]


def environment(**variables: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("GTE_PG_SERVE")
    }
    return kept | variables


@contextmanager
def serving(dsn: str, *arguments: str, token: str | None = None) -> Iterator[Server]:
    """Run a server on a free port, as long as the context lasts."""
    variables = {} if token is None else {"GTE_PG_SERVE_TOKEN": token}
    process = subprocess.Popen(
        command("--port", "0", "--dsn", dsn, *arguments),
        env=environment(**variables),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    for line in process.stderr:
        lines.append(line)
        if found := _URL.search(line):
            break
    else:
        process.wait()
        raise AssertionError("".join(lines))
    # Read on, lest the server waits for room in the pipe.
    reader = threading.Thread(target=lines.extend, args=(process.stderr,), daemon=True)
    reader.start()
    url = re.sub(r"//(0\.0\.0\.0|\[::\])", "//127.0.0.1", found[1])
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            until(lambda: answers(client))
            yield Server(process, client, lines)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until something is so; fail where it does not come about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
