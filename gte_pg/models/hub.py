"""A model's files from the Hugging Face hub, at the catalogue's pinned revision.

huggingface_hub keeps its own cache and obeys its own variables: HF_HOME, HF_ENDPOINT for a mirror,
HF_HUB_OFFLINE, HF_TOKEN. Code and pickles are never asked for.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from pathlib import Path

from gte_pg.errors import ModelError, ModelNotFound
from gte_pg.models.catalogue import KnownModel
from gte_pg.models.checked_files import checked_files
from gte_pg.models.content import DECIDING_FILES

__all__ = ["delete_from_hub_cache", "fetched_directory", "hub_directory"]

WEIGHTS = "model.safetensors"
SETTINGS = [name for name in DECIDING_FILES if name != WEIGHTS]
NEEDED_FILES = ("config.json", "tokenizer.json", WEIGHTS)
ANSWER_SECONDS = 10


def hub_directory(model: KnownModel) -> Path:
    """Return the directory with the model's files, from the local cache or downloaded.

    Blocks while downloading; a connection that ends early is resumed where it ended. Raises
    ModelNotFound where the files are neither here nor reachable, ModelError where one is not what
    the hub announced; that one is deleted.
    """
    directory = fetched_directory(model) or _fetched(model)
    checked = checked_files(directory, offline=False, remembered=True)
    wrong = [file.name for file in checked if file.state == "differs"]
    for name in wrong:
        (directory / name).resolve().unlink()
        (directory / name).unlink()
    if wrong:
        raise ModelError(
            f"{', '.join(wrong)} of {model.hub_id} had another content than the hub announced, and "
            "is deleted; fetch the model again"
        )
    return directory


def fetched_directory(model: KnownModel) -> Path | None:
    """Return the directory in huggingface_hub's cache; None where the model is not whole there."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        # The patterns say which files of the repository it takes to be whole.
        here = snapshot_download(
            model.hub_id,
            revision=model.revision,
            allow_patterns=list(DECIDING_FILES),
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return None
    return Path(here) if _is_whole(Path(here)) else None


def _fetched(model: KnownModel) -> Path:
    # Imported here: it costs 0.3 s, and only models of the hub need it.
    from huggingface_hub import constants, snapshot_download  # noqa: PLC0415

    if not constants.HF_HUB_OFFLINE and not _answers(constants.ENDPOINT):
        raise _not_reachable(model, f"{constants.ENDPOINT} does not answer")
    try:
        # The weights last: where they are, so is everything else.
        for patterns in (SETTINGS, [WEIGHTS]):
            fetched = Path(
                snapshot_download(model.hub_id, revision=model.revision, allow_patterns=patterns)
            )
    except Exception as error:  # its own, the system's, and those of the HTTP library under it
        raise _not_reachable(model, _cause(error)) from error
    if not _is_whole(fetched):
        raise _not_reachable(model, f"it lacks one of {', '.join(NEEDED_FILES)}")
    return fetched


def delete_from_hub_cache(model: KnownModel) -> int:
    """Delete the model's revision from huggingface_hub's cache; return the bytes that are free."""
    from huggingface_hub import scan_cache_dir  # noqa: PLC0415
    from huggingface_hub.errors import CacheNotFound  # noqa: PLC0415

    try:
        plan = scan_cache_dir().delete_revisions(model.revision)
    except CacheNotFound:
        return 0
    plan.execute()
    return plan.expected_freed_size


def _answers(endpoint: str) -> bool:
    """Ask the hub once. huggingface_hub itself tries for half a minute before it gives up."""
    try:
        request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the user's own
        urllib.request.urlopen(request, timeout=ANSWER_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # A certificate that this check does not know says nothing about huggingface_hub's.
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):
        return False
    return True


def _cause(error: BaseException) -> str:
    """Return what went wrong in the first place: huggingface_hub's own errors only say that it did."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _is_whole(directory: Path) -> bool:
    return all((directory / name).is_file() for name in NEEDED_FILES)


def _not_reachable(model: KnownModel, reason: str) -> ModelNotFound:
    return ModelNotFound(
        f"the files of {model.name} ({model.hub_id}@{model.revision[:12]}) are not on this machine "
        f"and the hub did not give them: {reason}; give a directory with the files, set "
        "HF_ENDPOINT to a mirror, or use all-MiniLM-L6-v2, which comes from the package index"
    )
