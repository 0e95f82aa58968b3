"""What is remembered of a model's files, and that it is forgotten when they change."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gte_pg.encoder import canonical_tokens
from gte_pg.encoder.tokenizer import Tokenizer
from gte_pg.errors import ModelError
from gte_pg.models import file_hash
from gte_pg.models.directory import read_directory
from gte_pg.models.file_hash import WORTH_REMEMBERING, remembered_sha256
from tests.encoder.conftest import Copy, EditJson


class Reads:
    """Counts how often a file is hashed in fact, each `again` as in a new process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._hash = file_hash.file_sha256
        monkeypatch.setattr(file_hash, "file_sha256", self._counted)

    def again(self, path: Path) -> str:
        file_hash._sha256.cache_clear()
        return remembered_sha256(path)

    def _counted(self, path: Path) -> str:
        self.count += 1
        return self._hash(path)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Reads:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path / "cache"))
    return Reads(monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(b"a" * WORTH_REMEMBERING)
    return path


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file counts as one that has not changed for long."""
    monkeypatch.setattr(file_hash, "STILL_NANOSECONDS", -1)


@pytest.mark.usefixtures("still")
def test_a_hash_is_remembered_until_the_file_changes(reads: Reads, file: Path) -> None:
    first = reads.again(file)
    assert first == reads.again(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert reads.count == 1

    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    file.write_bytes(b"b" * WORTH_REMEMBERING)
    os.utime(file, ns=times)
    assert reads.again(file) == hashlib.sha256(file.read_bytes()).hexdigest() != first
    assert reads.count == 2


@pytest.mark.usefixtures("still")
def test_another_file_in_its_place_is_hashed(reads: Reads, file: Path, tmp_path: Path) -> None:
    first = reads.again(file)
    other = tmp_path / "other"
    other.write_bytes(b"b" * WORTH_REMEMBERING)
    shutil.copystat(file, other)
    other.replace(file)
    assert reads.again(file) != first


def test_a_file_that_changed_just_now_is_hashed_again(reads: Reads, file: Path) -> None:
    assert reads.again(file) == reads.again(file)
    assert reads.count == 2


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("spoilt", [b"", b"1 2 3", b"\xff" * 200])
def test_a_spoilt_note_is_written_anew(
    reads: Reads, file: Path, tmp_path: Path, spoilt: bytes
) -> None:
    expected = reads.again(file)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_bytes(spoilt)
    assert reads.again(file) == reads.again(file) == expected
    assert reads.count == 2


@pytest.mark.usefixtures("still")
def test_a_cache_that_cannot_be_written_remembers_nothing(
    reads: Reads, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(file))
    assert reads.again(file) == reads.again(file)
    assert reads.count == 2


def test_canonical_tokens_are_computed_once(
    copy_of: Copy, edit_json: EditJson, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path / "cache"))
    path = copy_of("new_ntk")
    first = Tokenizer(read_directory(path)).canonical
    with monkeypatch.context() as patch:
        patch.setattr(canonical_tokens, "_computed", None)
        np.testing.assert_array_equal(Tokenizer(read_directory(path)).canonical, first)

    (cls,) = np.flatnonzero(first == -1)[:1]
    edit_json(path / "special_tokens_map.json", {"cls_token": "cat"})
    assert Tokenizer(read_directory(path)).canonical[cls] != -1, "other files, other tokens"


def test_cut_canonical_tokens(
    copy_of: Copy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path / "cache"))
    directory = read_directory(copy_of("new_ntk"))
    _ = Tokenizer(directory).canonical
    (file,) = (tmp_path / "cache" / "tokens").glob("*/*")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="delete .*, and it is made again"):
        _ = Tokenizer(directory).canonical
