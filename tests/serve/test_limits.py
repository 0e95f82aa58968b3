"""What does not fit is turned away, and what is left behind is cleared away."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from gte_pg.encoder import Encoder
from tests.serve.server import NOWHERE, Server, serving, until

PATH = "/v1/embeddings"
# Keeps the little model busy for half a second or more.
MUCH = ["many words in a row " * 60] * 200


@pytest.fixture
def small(model: str) -> Iterator[Server]:
    options = ("--queue", "10", "--max-request-mb", "2", "--timeout", "20")
    with serving(NOWHERE, "--model", model, *options) as server:
        yield server


def raw(body: bytes, length: int | None = None) -> bytes:
    head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length or len(body)}"
    return f"POST {PATH} HTTP/1.1\r\n{head}\r\n\r\n".encode() + body


def send_raw(server: Server, request: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(request)
    return connection


def test_a_request_that_is_too_large(small: Server, model: str) -> None:
    fields = {"model": model, "input": "x" * (2 * 2**20)}
    error = small.error(PATH, fields, 413)
    assert "at most 2,097,152" in error["message"]
    with send_raw(small, raw(b"", 2 * 2**20 + 1)) as connection:  # at once, before it is all there
        assert b" 413 " in connection.recv(1_000)
    assert small.answer(PATH, fields | {"input": "x" * (2**20)})["truncated"] == [0]


def test_a_request_that_does_not_tell_its_length(small: Server, model: str) -> None:
    chunks = (b" " * 65_536 for _ in range(100))
    headers = {"Content-Type": "application/json"}
    with contextlib.suppress(httpx.TransportError):  # the connection may close before it is read
        assert small.client.post(PATH, content=chunks, headers=headers).status_code == 413
    until(lambda: small.metric("gte_pg_held_bytes") == 0)
    body = f'{{"model": "{model}", "input": "a"}}'.encode()
    assert small.client.post(PATH, content=iter([body]), headers=headers).status_code == 200


def test_a_full_queue_says_when_to_come_again(small: Server, model: str) -> None:
    much, little = {"model": model, "input": MUCH}, {"model": model, "input": "a"}
    with ThreadPoolExecutor(1) as pool:
        at_hand = pool.submit(small.post, PATH, much)
        until(lambda: small.metric("gte_pg_waiting_texts") == len(MUCH))
        refused = small.post(PATH, little)
        assert at_hand.result().status_code == 200
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "busy"
    assert small.metric("gte_pg_refused_total") == 1
    assert small.metric("gte_pg_waiting_texts") == 0
    small.answer(PATH, little)


def test_all_requests_together_have_so_much_memory(small: Server, model: str) -> None:
    held = [send_raw(small, raw(b"", 2 * 2**20)) for _ in range(8)]
    until(lambda: small.metric("gte_pg_held_bytes") == 8 * 2 * 2**20)
    response = small.post(PATH, {"model": model, "input": "a"})
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    for connection in held:
        connection.close()
    until(lambda: small.metric("gte_pg_held_bytes") == 0)
    small.answer(PATH, {"model": model, "input": "a"})


def test_whoever_leaves_leaves_the_queue(model: str) -> None:
    with serving(NOWHERE, "--model", model) as server:
        body = httpx.Request("POST", "http://x", json={"model": model, "input": MUCH * 5}).content
        connection = send_raw(server, raw(body))
        until(lambda: server.metric("gte_pg_waiting_texts") == 5 * len(MUCH))
        connection.close()
        until(lambda: server.metric("gte_pg_waiting_texts") == 0, seconds=1)
        server.answer(PATH, {"model": model, "input": "a"})
        assert server.metric("gte_pg_encoded_texts_total") < 5 * len(MUCH)
        assert 'status="499"' in server.client.get("/metrics").text


def test_a_request_has_so_much_time(model: str) -> None:
    with serving(NOWHERE, "--model", model, "--timeout", "1") as server:
        slow = send_raw(server, raw(b"{", 100))
        assert b" 503 " in slow.recv(1_000)
        slow.close()
        error = server.error(PATH, {"model": model, "input": MUCH * 9}, 503)
        assert "longer than 1 s" in error["message"]
        until(lambda: server.metric("gte_pg_waiting_texts") == 0)


def test_an_answer_that_nobody_reads_is_given_up(model: str) -> None:
    with serving(NOWHERE, "--model", model, "--timeout", "4") as server:
        request = httpx.Request("POST", "http://x", json={"model": model, "input": ["a"] * 2_000})
        with socket.socket() as connection:
            # Several, since the sockets on the way keep an answer or two.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(raw(request.content) * 6)
            until(lambda: server.metric("gte_pg_held_bytes") > 1_000_000)
            until(lambda: server.metric("gte_pg_held_bytes") == 0, seconds=6)
            server.answer(PATH, {"model": model, "input": "a"})


def test_requests_share_turns_and_each_gets_its_own(
    encoding_server: Server, model: str, encoder: Encoder
) -> None:
    texts = [f"{'cat ' * (n % 7)}number {n}" for n in range(400)]
    expected = encoder.encode(texts).dense
    before = encoding_server.metric("gte_pg_turn_texts_count")

    def ask(text: str) -> Any:
        fields = {"model": model, "input": text}
        return encoding_server.answer(PATH, fields)["data"][0]["embedding"]

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(ask, texts))
    for mine, right in zip(found, expected, strict=True):
        assert mine == pytest.approx(right.tolist(), abs=1e-5)
    turns = encoding_server.metric("gte_pg_turn_texts_count") - before
    assert turns < len(texts) * 0.8


def test_a_bad_text_is_only_its_own_requests_error(encoding_server: Server, model: str) -> None:
    together = threading.Barrier(32)

    def ask(number: int) -> httpx.Response:
        together.wait()
        texts = ["good", "bad \ud800"] if number % 4 == 0 else ["good", "good too"]
        return encoding_server.client.post(
            PATH,
            content=json.dumps({"model": model, "input": texts}),
            headers={"Content-Type": "application/json"},
        )

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(32)))
    for number, answer in enumerate(answers):
        assert answer.status_code == (400 if number % 4 == 0 else 200), answer.text
    message = answers[0].json()["error"]["message"]
    assert message.startswith("input[1]: ")
    assert "surrogate" in message


def test_a_small_request_does_not_wait_for_a_large_one(encoding_server: Server, model: str) -> None:
    def ask(texts: list[str], kind: str) -> None:
        encoding_server.answer(PATH, {"model": model, "input": texts, "input_type": kind})

    encoded = "gte_pg_encoded_texts_total"
    before = encoding_server.metric(encoded)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(ask, MUCH * 3, "document")
        until(lambda: encoding_server.metric("gte_pg_waiting_texts") == 3 * len(MUCH))
        # Neither the one that cannot share the large one's turns nor the one that can.
        ask(["a"], "query")
        ask(["a"], "document")
        assert encoding_server.metric(encoded) - before < 2 * len(MUCH)
        large.result()


def test_more_models_than_fit_take_turns(model: str, plain_model: str) -> None:
    with serving(NOWHERE, "--model", model, "--max-models", "1") as server:
        first = server.answer(PATH, {"model": model, "input": "a"})
        int8 = server.answer(PATH, {"model": model, "input": "a", "precision": "int8"})
        assert first["data"] != int8["data"]
        assert server.answer(PATH, {"model": model, "input": "a"}) == first
        assert server.metric("gte_pg_models") == 1
