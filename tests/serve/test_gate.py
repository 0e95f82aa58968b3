"""Who may ask, and who may not even start."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.serve.server import NOWHERE, Server, command, environment, serving

TOKEN = "correct horse battery"
FIELDS = {"model": "gpt-4", "input": "a"}  # whoever passes the gate is told 404


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    with serving(NOWHERE, "--host", "0.0.0.0", token=TOKEN) as server:
        yield server


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer é",
    ],
)
def test_a_wrong_token_is_refused_everywhere(guarded: Server, authorization: str) -> None:
    headers = {b"Authorization": authorization.encode()}
    for response in (
        guarded.client.post("/v1/embeddings", json=FIELDS, headers=headers),
        guarded.client.post("/search", json=FIELDS, headers=headers),
        guarded.client.get("/metrics", headers=headers),
    ):
        assert response.status_code == 401
        assert response.json()["error"]["code"] == "invalid_api_key"
        assert response.headers["www-authenticate"] == "Bearer"
    assert guarded.client.get("/healthz", headers=headers).status_code == 200
    assert guarded.client.get("/readyz", headers=headers).status_code == 503


def test_the_right_token_passes(guarded: Server) -> None:
    for scheme in ("Bearer", "bearer"):
        headers = {"Authorization": f"{scheme} {TOKEN}", "Host": "search.example.org"}
        assert guarded.post("/v1/embeddings", FIELDS, headers=headers).status_code == 404
        assert guarded.client.get("/metrics", headers=headers).status_code == 200


def test_the_token_comes_from_a_file_too(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with serving(NOWHERE, "--token-file", str(file)) as server:
        assert server.post("/v1/embeddings", FIELDS).status_code == 401
        headers = {"Authorization": f"Bearer {TOKEN}"}
        assert server.post("/v1/embeddings", FIELDS, headers=headers).status_code == 404


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.example.org", "10.0.0.1:8100"])
def test_a_page_whose_name_points_to_loopback(encoding_server: Server, host: str) -> None:
    response = encoding_server.post("/v1/embeddings", FIELDS, headers={"Host": host})
    assert response.status_code == 403
    assert encoding_server.client.get("/metrics", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("host", ["localhost:8100", "127.0.0.1", "127.1.2.3:9", "[::1]:8100"])
def test_this_machine_by_any_name(encoding_server: Server, host: str) -> None:
    response = encoding_server.post("/v1/embeddings", FIELDS, headers={"Host": host})
    assert response.status_code == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_form_of_a_web_page(encoding_server: Server, kind: str) -> None:
    response = encoding_server.client.post(
        "/v1/embeddings",
        content=b'{"model": "gpt-4", "input": "a"}',
        headers={"Content-Type": kind},
    )
    assert response.status_code == 415
    assert "application/json" in response.json()["error"]["message"]


def test_a_browser_is_given_no_leave(encoding_server: Server) -> None:
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    response = encoding_server.client.options("/v1/embeddings", headers=headers)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control")]


def refusal(*arguments: str, **variables: str) -> str:
    """Return what a server says that does not start."""
    done = subprocess.run(
        command("--dsn", NOWHERE, *arguments),
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", "localhost.example"])
def test_without_a_token_others_are_not_served(host: str) -> None:
    assert "--token-file" in refusal("--host", host)


def test_a_token_that_is_none(tmp_path: Path) -> None:
    assert "0 characters" in refusal(GTE_PG_SERVE_TOKEN="")
    assert "6 characters" in refusal(GTE_PG_SERVE_TOKEN="secret")
    assert "ASCII" in refusal(GTE_PG_SERVE_TOKEN="é" * 20)
    file = tmp_path / "token"
    file.write_bytes(b"\xff" * 20)
    assert "cannot be read" in refusal("--token-file", str(file))


def test_an_address_that_is_taken(encoding_server: Server) -> None:
    assert "choose others" in refusal("--port", str(encoding_server.port))


def test_a_model_that_is_not_there() -> None:
    assert "all-MiniLM-L6-v2" in refusal("--port", "0", "--model", "all-MiniLM-L6")
    assert "--max-models 3" in refusal(*("--model", "gte-small") * 3)


def test_the_token_is_not_in_the_log(guarded: Server) -> None:
    assert TOKEN not in "".join(guarded.stderr)
    with pytest.raises(httpx.HTTPStatusError):
        guarded.client.get("/nowhere").raise_for_status()
