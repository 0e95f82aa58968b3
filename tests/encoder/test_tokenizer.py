"""Token ids against published ones, and against the library without any of our cutting."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import tokenizers

from gte_pg.encoder.long_runs import ignores_length, shortened
from gte_pg.encoder.tokenizer import CHARACTERS_PER_TOKEN, Tokenizer
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
        "x" * 5000 + "[MASK]" + "\n " * 5000 + "[MASK]" + "é" * 5000 + "Cat9" * 5000 + "! a cat",
    ],
)
def test_a_text_read_in_part_gives_the_same_tokens(data: Path, model: str, text: str) -> None:
    held_to_the_library(data / "golden" / model, [text], 40)


def test_a_text_cut_in_the_middle_of_an_unknown_word(data: Path) -> None:
    # The last word is cut to its first characters, of which each would be a token.
    first_part = CHARACTERS_PER_TOKEN * 20
    texts = [f"{'x' * (first_part - 1 - seen)},{'a' * 5000} the cat" for seen in range(1, 130)]
    held_to_the_library(data / "golden" / "bert_mean", texts, 20)


def held_to_the_library(path: Path, texts: list[str], max_length: int) -> None:
    library = tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    library.no_truncation()
    library.no_padding()
    tokenizer = Tokenizer(read_directory(path))
    found = tokenizer.tokenize(texts, max_length)
    for text, encoding in zip(found, library.encode_batch(texts), strict=True):
        whole = encoding.ids
        fits = len(whole) <= max_length
        assert text.ids == (whole if fits else [*whole[: max_length - 1], whole[-1]])
        assert text.truncated == (not fits)


def test_long_runs_are_shortened_only_where_their_length_is_nothing(data: Path) -> None:
    read = {
        name: tokenizers.Tokenizer.from_file(str(data / "golden" / name / "tokenizer.json"))
        for name in ("bert_mean", "new_ntk")
    }
    assert ignores_length(read["bert_mean"])
    assert not ignores_length(read["new_ntk"])
    read["bert_mean"].add_tokens(["cat"])
    assert not ignores_length(read["bert_mean"])
    runs = ["x" * 5000, "," * 5000, "é" * 5000, " \n" * 5000, "数" * 5000]
    assert [len(shortened(run)) for run in runs] == [1000, 5000, 5000, 1000, 5000]
