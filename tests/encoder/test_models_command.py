"""`gte-pg models`: list, pull, verify, export, remove."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from gte_pg.cli import main
from gte_pg.encoder import Encoder, load_encoder
from gte_pg.models import offline
from gte_pg.models.catalogue import CATALOGUE
from gte_pg.models.checked_files import checked_files
from gte_pg.models.file_hash import file_sha256
from tests.encoder.conftest import Copy


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def test_list_is_the_catalogue() -> None:
    rows = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [row["name"] for row in rows] == [known.name for known in CATALOGUE]
    multilingual = rows[0]
    assert multilingual["elastic"] == [128, 768]
    assert multilingual["sparse"]
    commit = "9bbca17d9273fd0d03d5725c7a4b0f6b45142062"
    assert multilingual["source"] == f"Alibaba-NLP/gte-multilingual-base@{commit}"


@pytest.mark.parametrize("columns", ["40", "80"])
def test_the_list_is_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = run("list").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    shown = [" ".join(line.split()) for line in lines]
    assert "name dimensions max tokens sparse licence here" in shown
    assert "gte-multilingual-base 128-768 8,192 yes Apache-2.0" in shown
    for known in CATALOGUE:
        cells = [known.name, str(known.dimensions), f"{known.max_length:,}", known.licence]
        assert any(all(cell in line for cell in cells) for line in shown), known.name


def test_pull_and_verify_a_directory(copy_of: Copy) -> None:
    path = str(copy_of("bert_mean"))
    pulled = run("pull", path)
    assert pulled.exit_code == 0, pulled.output
    assert "fetching" in pulled.stderr
    assert pulled.stdout.startswith(path)
    verified = run("verify", path)
    assert verified.exit_code == 0
    assert "not known  model.safetensors" in verified.stdout
    assert "nothing is published" in verified.stdout


def test_verify_holds_a_model_to_what_is_published_for_its_name(copy_of: Copy) -> None:
    path = copy_of("bert_mean")
    renamed = str(path.rename(path.parent / "bge-base-en"))
    verified = run("verify", renamed, "--json")
    assert verified.exit_code == 1
    rows = [json.loads(line) for line in verified.stdout.splitlines()]
    (published,) = (row for row in rows if row["checked"] == "first-dimensions")
    assert published["result"] == "differs"
    assert published["difference"] > published["tolerance"]
    assert "differs in first-dimensions" in verified.stderr


def test_a_changed_file_of_the_offline_model(
    copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copy_of("bert_mean")
    states = {file.name: file.state for file in checked_files(path, offline=True)}
    assert states["config.json"] == "differs"
    known = {name: file_sha256(path / name) for name in states}
    monkeypatch.setattr("gte_pg.models.checked_files.SHA256", known)
    assert {file.state for file in checked_files(path, offline=True)} == {"matches"}


def test_an_exported_model_runs_as_its_readme_says(copy_of: Copy, tmp_path: Path) -> None:
    for name in ("bert_mean", "bert_cls"):
        path, destination = str(copy_of(name)), tmp_path / f"exported {name}"
        exported = run("export", path, str(destination))
        assert exported.exit_code == 0, exported.output
        (code,) = re.findall("```python\n(.*)```", (destination / "README.md").read_text(), re.S)
        done = subprocess.run(
            [sys.executable, "-c", code + "print(vector.tolist())"],
            cwd=destination,
            capture_output=True,
            text=True,
            check=True,
        )
        expected = load_encoder(path).encode(["a text"]).dense[0]
        np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-5)
        again = run("export", path, str(destination))
        assert again.exit_code == 1
        assert "is not empty" in again.stderr


def test_remove_deletes_files_and_what_was_built(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path))
    place = tmp_path / offline.offline_entry()
    shutil.copytree(data / "golden" / "new_ntk", place)
    Encoder.load(str(place))
    built = [tmp_path / "graphs", tmp_path / "tokens"]
    assert [len(list(kind.iterdir())) for kind in built] == [1, 1]
    removed = run("remove", "all-MiniLM-L6-v2")
    assert removed.exit_code == 0
    assert " MB are free" in removed.stdout
    assert not place.exists()
    assert [len(list(kind.iterdir())) for kind in built] == [0, 0]
    assert "0 MB" in run("remove", "all-MiniLM-L6-v2").stdout


def test_remove_from_the_hubs_cache(data: Path, tmp_path: Path) -> None:
    revision = "2275a7bdee235e9b4f01fa73aa60d3311983cfea"
    repository = tmp_path / "hub" / "models--BAAI--bge-small-en"
    shutil.copytree(data / "golden" / "bert_cls", repository / "snapshots" / revision)
    (repository / "blobs").mkdir()
    command = [sys.executable, "-m", "gte_pg", "models"]
    variables = os.environ | {"HF_HOME": str(tmp_path), "GTE_PG_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [*command, "remove", "bge-small-en"], env=variables, capture_output=True, check=True
    )
    assert b"bge-small-en" in done.stdout
    assert not (repository / "snapshots" / revision).exists()


@pytest.mark.parametrize("command", ["pull", "verify", "remove"])
def test_unknown_names(command: str) -> None:
    result = run(command, "gte-smal")
    assert result.exit_code == 1
    assert "near ones: gte-small" in result.stderr
