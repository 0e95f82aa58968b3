"""Token ids against published ones, and against the library without any of our cutting."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import tokenizers

from gte_pg.encoder.tokenizer import Tokenizer
from gte_pg.models.directory import read_directory

if TYPE_CHECKING:
    from pathlib import Path

    from tests.encoder.conftest import EditJson


@pytest.mark.parametrize("name", ["gte-small", "m3e-small", "bert-base-chinese"])
def test_published_ids(data: Path, tmp_path: Path, edit_json: EditJson, name: str) -> None:
    path = shutil.copytree(data / "tokenizers" / name, tmp_path / name)
    if name == "bert-base-chinese":
        # Its own setting keeps capitals; the published ids are of a model that lower-cases.
        edit_json(path / "tokenizer_config.json", {"do_lower_case": True})
    tokenizer = Tokenizer(read_directory(path))
    cases = json.loads((data / "tokenizers" / "expected.json").read_text())
    # A pair of texts is for rerankers.
    cases = [c for c in cases if c["tokenizer"] == name and c["case"] != "TEXT_PAIR"]
    assert len(cases) >= 7
    found = tokenizer.tokenize([case["text"] for case in cases], 512)
    for case, text in zip(cases, found, strict=True):
        assert text.ids == case["ids"], case["case"]
        assert not text.truncated


def test_limits_baked_into_the_file_are_reset(data: Path) -> None:
    path = data / "tokenizers" / "gte-small"
    baked = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json")).encode("Hello world")
    assert len(baked.ids) == 128
    (text,) = Tokenizer(read_directory(path)).tokenize(["Hello world"], 512)
    assert text.ids == [101, 7592, 2088, 102]


def test_lower_casing_follows_the_config(data: Path, tmp_path: Path, edit_json: EditJson) -> None:
    path = shutil.copytree(data / "tokenizers" / "bert-base-chinese", tmp_path / "model")
    ids = {}
    for lower in (False, True):
        edit_json(path / "tokenizer_config.json", {"do_lower_case": lower})
        upper, small = Tokenizer(read_directory(path)).tokenize(["BIG", "big"], 512)
        ids[lower] = upper.ids == small.ids
    assert ids == {False: False, True: True}


def test_lower_casing_before_the_tokenizer(data: Path, tmp_path: Path, edit_json: EditJson) -> None:
    path = shutil.copytree(data / "tokenizers" / "bert-base-chinese", tmp_path / "model")
    edit_json(path / "sentence_bert_config.json", {"max_seq_length": 64, "do_lower_case": True})
    upper, small = Tokenizer(read_directory(path)).tokenize(["BIG", "big"], 512)
    assert upper.ids == small.ids


@pytest.mark.parametrize("model", ["new_ntk", "bert_mean"])
@pytest.mark.parametrize(
    "text",
    [
        "the cat sat on the mat " * 2000,
        "cat" * 20_000,
        "数据库保存行和列。" * 3000,
        " " * 50_000 + "a cat at the end",
        "🙂" * 20_000,
        ("x" * 5000 + " ") * 10,
    ],
)
def test_a_text_read_in_part_gives_the_same_tokens(data: Path, model: str, text: str) -> None:
    path = data / "golden" / model
    library = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    library.no_truncation()
    library.no_padding()
    whole = library.encode(text).ids
    (found,) = Tokenizer(read_directory(path)).tokenize([text], 40)
    expected = whole if len(whole) <= 40 else [*whole[:39], whole[-1]]
    assert found.ids == expected
    assert found.truncated == (len(whole) > 40)
