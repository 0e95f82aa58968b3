"""SIGTERM: what is at hand is answered, nothing more is taken, and the exit code is 0."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serve.server import NOWHERE, answers, serving, until
from tests.serve.test_limits import MUCH, PATH


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_leaves_at_once(number: signal.Signals) -> None:
    with serving(NOWHERE) as server:
        started = time.monotonic()
        server.process.send_signal(number)
        assert server.process.wait(timeout=10) == 0
        assert time.monotonic() - started < 5
    assert "Traceback" not in "".join(server.stderr)


def test_what_is_at_hand_is_answered(model: str) -> None:
    with serving(NOWHERE, "--model", model) as server, ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(server.post, PATH, {"model": model, "input": MUCH}) for _ in range(3)]
        until(lambda: server.metric("gte_pg_waiting_texts") == 3 * len(MUCH))
        server.process.send_signal(signal.SIGTERM)
        with httpx.Client(base_url=server.client.base_url, trust_env=False) as other:
            until(lambda: not answers(other), seconds=2)
        assert server.process.poll() is None
        for each in asked:
            assert each.result().status_code == 200
            assert len(each.result().json()["data"]) == len(MUCH)
        assert server.process.wait(timeout=10) == 0
    assert "Traceback" not in "".join(server.stderr)
