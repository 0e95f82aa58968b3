"""`gte-pg encode` and `gte-pg score`: JSON Lines in and out, and errors that name a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gte_pg.cli import main
from gte_pg.encoder import Encoder, load_encoder, score

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def model(data: Path) -> str:
    return str(data / "golden" / "new_ntk")


def run(command: str, model: str, lines: list[str] | bytes, *options: str) -> Result:
    text = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
    return CliRunner().invoke(main, [command, "--model", model, *options], input=text)


def test_encode_gives_the_encoders_numbers_exactly(model: str, encoder: Encoder) -> None:
    texts = ["the cat", "", "数据库 😀", "a\0b"]
    lines = [json.dumps(texts[0]), json.dumps({"text": texts[1], "id": 7})]
    lines += [json.dumps(text, ensure_ascii=False) for text in texts[2:]]
    result = run("encode", model, lines, "--json", "--dimensions", "16")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    encoded = encoder.encode(texts, dimensions=16)
    assert encoded.sparse is not None
    answers = [json.loads(line) for line in result.stdout.split("\n")[:-1]]
    for index, answer in enumerate(answers):
        assert list(answer) == ["dense", "token_weights"]
        found = np.array(answer["dense"]).astype(np.float32)
        np.testing.assert_array_equal(found, encoded.dense[index])
        expected = encoder.token_weights(*encoded.sparse[index])
        weights = {key: float(np.float32(value)) for key, value in answer["token_weights"].items()}
        assert weights == expected
    assert len(answers) == 4


def test_encode_many_lines_in_order(model: str, encoder: Encoder) -> None:
    texts = [f"cat {n} " * (1 + n % 7) for n in range(150)]
    result = run("encode", model, [json.dumps(text) for text in texts], "--json")
    found = [json.loads(line)["dense"] for line in result.stdout.splitlines()]
    np.testing.assert_allclose(found, encoder.encode(texts).dense, atol=1e-6)


def test_encode_without_a_token_head(data: Path) -> None:
    result = run("encode", str(data / "golden" / "bert_cls"), ['"cat"'], "--json")
    assert json.loads(result.stdout)["token_weights"] == {}


def test_precision_reaches_the_encoder(model: str) -> None:
    encoder = load_encoder(model, precision="int8")
    encoded = run("encode", model, ['"the cat"'], "--json", "--precision", "int8")
    expected = encoder.encode(["the cat"]).dense[0]
    np.testing.assert_allclose(json.loads(encoded.stdout)["dense"], expected, atol=1e-6)
    pair = '{"query": "the cat", "document": "a dog"}'
    scored = run("score", model, [pair], "--json", "--precision", "int8")
    assert json.loads(scored.stdout)["score"] == pytest.approx(
        score(encoder, "the cat", "a dog").score
    )


def test_options_reach_the_encoder(model: str, encoder: Encoder) -> None:
    result = run("encode", model, ['"the cat sat on the mat"'], "--json", "--max-length", "4")
    expected = encoder.encode(["the cat sat on the mat"], max_length=4).dense[0]
    np.testing.assert_allclose(json.loads(result.stdout)["dense"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "blank"),
        (b"  ", "blank"),
        (b"{", "line 70: it is not JSON (Expecting"),
        (b"hello world", 'write "hello world", with its double quotes, or {"text": "hello world"}'),
        (b"12", "expected an object with the string 'text', got 12; write \"hello world\""),
        (b'{"text": 1}', "expected an object with the string 'text'"),
        (b'"\\ud800"', "lone surrogate"),
        (b'"\xff"', "decode"),
        (b"[" * 100_000, "line 70"),
    ],
)
def test_a_bad_line_is_named_after_the_answers_before_it(
    model: str, bad: bytes, reason: str
) -> None:
    result = run("encode", model, b'"cat"\n' * 69 + bad + b'\n"never"\n', "--json")
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 69
    assert "line 70" in result.stderr
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_no_lines(model: str) -> None:
    result = run("encode", model, [], "--json")
    assert (result.exit_code, result.stdout) == (0, "")


@pytest.mark.parametrize("command", ["encode", "score"])
def test_errors_of_the_model_and_its_options(command: str, model: str, data: Path) -> None:
    pair = ['{"text": "a", "query": "a", "document": "b"}']
    wide = run(command, model, pair, "--dimensions", "65", "--json")
    assert (wide.exit_code, wide.stdout) == (1, "")
    assert "1 to 64" in wide.stderr
    missing = run(command, str(data / "nowhere"), pair)
    assert (missing.exit_code, missing.stdout) == (1, "")
    assert "there is no such directory" in missing.stderr
    assert run(command, model, pair, "--dimensions", "0").exit_code == 2
    assert CliRunner().invoke(main, [command]).exit_code == 2


def test_score(model: str, encoder: Encoder) -> None:
    line = json.dumps({"query": "the cat", "document": "a cat"})
    weights = ["--dense-weight", "0.5", "--sparse-weight", "2", "--dimensions", "8"]
    result = run("score", model, [line], *weights, "--json")
    expected = score(encoder, "the cat", "a cat", dense_weight=0.5, sparse_weight=2, dimensions=8)
    answer = json.loads(result.stdout)
    assert answer == pytest.approx(
        {"score": expected.score, "dense": expected.dense, "sparse": expected.sparse}
    )
    assert answer["score"] == pytest.approx(0.5 * answer["dense"] + 2 * answer["sparse"])


def test_score_names_a_bad_line(model: str) -> None:
    good = '{"query": "a", "document": "b"}'
    result = run("score", model, [good, '{"query": "a"}'], "--json")
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 1
    assert "line 2: expected an object with the string 'document'" in result.stderr
    assert 'write {"query": "capital of China", "document": "Beijing"}' in result.stderr


def test_readable_output(model: str) -> None:
    encoded = run("encode", model, ['"the cat"'])
    assert "4 tokens  dense[64]" in encoded.stdout
    assert "'cat':0.6" in encoded.stdout
    scored = run("score", model, ['{"query": "cat", "document": "cat"}'])
    assert scored.stdout == "score 1.0389  dense 1.0000  sparse 0.3893\n"
