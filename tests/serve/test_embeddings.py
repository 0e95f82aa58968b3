from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gte_pg.encoder import Encoder
from tests.serve.server import NOWHERE, Server, serving

PATH = "/v1/embeddings"
TEXTS = ["a cat on a mat", "cheap flights to Berlin", "שלום 🙂"]


def vectors(answer: dict[str, Any]) -> Any:
    return np.array([item["embedding"] for item in answer["data"]], np.float32)


def test_the_shape_is_openais_and_the_numbers_are_the_encoders(
    encoding_server: Server, model: str, encoder: Encoder
) -> None:
    answer = encoding_server.answer(PATH, {"model": model, "input": TEXTS})
    encoded = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors(answer), encoded.dense, atol=1e-6)
    tokens = int(encoded.token_counts.sum())
    assert [(item["index"], item["object"]) for item in answer["data"]] == [
        (0, "embedding"),
        (1, "embedding"),
        (2, "embedding"),
    ]
    del answer["data"]
    assert answer == {
        "object": "list",
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "truncated": [],
    }


def test_one_text_is_as_good_as_a_list_of_one(encoding_server: Server, model: str) -> None:
    one = encoding_server.answer(PATH, {"model": model, "input": TEXTS[0]})
    assert one == encoding_server.answer(PATH, {"model": model, "input": TEXTS[:1]})


def test_base64_holds_the_very_same_numbers(encoding_server: Server, model: str) -> None:
    fields = {"model": model, "input": TEXTS}
    floats = encoding_server.answer(PATH, fields)
    packed = encoding_server.answer(PATH, fields | {"encoding_format": "base64"})
    unpacked = [
        np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in packed["data"]
    ]
    np.testing.assert_array_equal(np.array(unpacked), vectors(floats))


def test_fewer_dimensions(encoding_server: Server, model: str, encoder: Encoder) -> None:
    answer = encoding_server.answer(PATH, {"model": model, "input": TEXTS, "dimensions": 8})
    np.testing.assert_allclose(
        vectors(answer), encoder.encode(TEXTS, dimensions=8).dense, atol=1e-6
    )
    error = encoding_server.error(PATH, {"model": model, "input": "a", "dimensions": 9_999}, 400)
    assert "dimensions is 9999" in error["message"]


def test_a_query_is_encoded_as_a_query(tmp_path: Path, model: str) -> None:
    directory = tmp_path / "instructed"
    shutil.copytree(model, directory)
    prompts = {"prompts": {"query": "find: "}}
    (directory / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    with serving(NOWHERE, "--model", str(directory)) as server:
        fields = {"model": str(directory), "input": "cat"}
        document = vectors(server.answer(PATH, fields))
        query = vectors(server.answer(PATH, fields | {"input_type": "query"}))
        written = vectors(server.answer(PATH, fields | {"input": "find: cat"}))
    np.testing.assert_allclose(query, written, atol=1e-6)
    assert abs(query - document).max() > 1e-3


def test_texts_that_were_cut_are_named(encoding_server: Server, model: str) -> None:
    answer = encoding_server.answer(PATH, {"model": model, "input": ["short", "word " * 20_000]})
    assert answer["truncated"] == [1]


def test_fields_of_openais_that_mean_nothing_here_are_ignored(
    encoding_server: Server, model: str
) -> None:
    encoding_server.answer(PATH, {"model": model, "input": "a", "user": "me", "dimensions": None})


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"model": None}, "model", "missing"),
        ({"input": None}, "input", "string"),
        ({"input": []}, "input", "list of 0"),
        ({"input": ["a", ""]}, "input", r"input[1] is empty"),
        ({"input": [1, 2]}, "input", "tokens are not taken"),
        ({"input": [[1, 2]]}, "input", "a list of 2"),
        ({"input": ["a"] * 2_049}, "input", "2,049"),
        ({"input": {"a": 1}}, "input", "an object"),
        ({"encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input_type": "passage"}, "input_type", "'document' or 'query'"),
        ({"precision": "int4"}, "precision", "'int8'"),
        ({"precision": ["int8"]}, "precision", "'int8'"),
        ({"dimensions": 0}, "dimensions", "from 1 to"),
        ({"dimensions": True}, "dimensions", "true"),
        ({"dimensions": 2.5}, "dimensions", "2.5"),
        ({"dimensions": 10**400}, "dimensions", "many digits"),
    ],
)
def test_what_will_not_do_is_told_with_its_field(
    encoding_server: Server, model: str, fields: dict[str, object], param: str, message: str
) -> None:
    error = encoding_server.error(PATH, {"model": model, "input": "a"} | fields, 400)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert message in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"input": "\xff"}', b"[1]", b"3", b"[" * 100_000])
def test_what_is_no_json_object(encoding_server: Server, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    response = encoding_server.client.post(PATH, content=body, headers=headers)
    assert response.status_code == 400
    assert "JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize("name", ["gpt-4", "/etc", "../..", "all-MiniLM", "\0", ""])
def test_a_request_names_known_models_and_those_on_offer_only(
    encoding_server: Server, name: str
) -> None:
    error = encoding_server.error(PATH, {"model": name, "input": "a"}, 404)
    assert error["code"] == "model_not_found"


def test_a_directory_that_is_not_on_offer(encoding_server: Server, model: str) -> None:
    other = str(Path(model).parent / "bert_cls")
    assert Path(other, "model.safetensors").is_file()
    error = encoding_server.error(PATH, {"model": other, "input": "a"}, 404)
    assert error["code"] == "model_not_found"
