"""`gte-pg serve`: the options of the server."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gte_pg.cli.database import dsn_option
from gte_pg.errors import GtePgError

__all__ = ["serve"]

EXTRA = ("prometheus_client", "psycopg_pool", "starlette", "uvicorn")


@click.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Any but loopback takes a token."
)
@click.option("--port", default=8100, show_default=True, type=click.IntRange(0, 65_535))
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file with the token that clients must send; also GTE_PG_SERVE_TOKEN, the token itself.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    help="Load it now, not when first asked for; again for more.",
)
@click.option(
    "--max-models",
    default=2,
    show_default=True,
    type=click.IntRange(1),
    help="Models in memory at once; the one used least recently makes room.",
)
@click.option(
    "--queue",
    default=4_096,
    show_default=True,
    type=click.IntRange(1),
    help="Texts that may wait to be encoded; beyond, requests get 503.",
)
@click.option(
    "--max-request-mb", default=8, show_default=True, type=click.IntRange(1), help="In MiB."
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(1),
    help="Seconds that a request may take in all.",
)
@click.option(
    "--connections",
    default=4,
    show_default=True,
    type=click.IntRange(1),
    help="Connections to the database.",
)
@click.option(
    "--statement-timeout",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.001),
    help="Seconds that one statement of a search may take.",
)
@click.option(
    "--install-sql",
    metavar="URL",
    help="Make gte.search_text in the database, which asks the server at URL, and leave.",
)
@dsn_option
def serve(
    host: str,
    port: int,
    token_file: Path | None,
    models: tuple[str, ...],
    max_models: int,
    queue: int,
    max_request_mb: int,
    timeout: float,
    connections: int,
    statement_timeout: float,
    install_sql: str | None,
    dsn: str,
) -> None:
    """Encode and search for other programs, over HTTP, with models that stay in memory.

    POST /v1/embeddings (as OpenAI's), /v1/sparse, /search and /vectors; GET /healthz, /readyz and
    /metrics. SIGTERM and Ctrl-C answer what is at hand and leave.
    """
    try:
        from gte_pg import serve as room  # noqa: PLC0415 - the commands work without the extra
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise click.ClickException(
            f"gte-pg serve needs {error.name}: pip install '.[serve]' in a checkout of gte-pg"
        ) from error
    token = _token(token_file)
    if install_sql is not None:
        room.install_search_text(dsn, install_sql, token)
        return
    settings = room.Settings(
        dsn=dsn,
        host=host,
        port=port,
        token=token,
        models=models,
        most_models=max_models,
        most_texts=queue,
        most_bytes=max_request_mb * 2**20,
        seconds=timeout,
        connections=connections,
        statement_seconds=statement_timeout,
    )
    room.serve(settings, lambda url: click.echo(f"gte-pg: serving on {url}", err=True))


def _token(token_file: Path | None) -> str | None:
    if token_file is None:
        return os.environ.get("GTE_PG_SERVE_TOKEN")
    try:
        return token_file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise GtePgError(f"the token file {token_file} cannot be read: {error}") from error
