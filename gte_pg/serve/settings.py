"""How a server is set up. A server that others can reach has a token, or there is none."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

from gte_pg.errors import GtePgError

__all__ = ["Settings", "is_loopback"]

SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """Raises GtePgError where they do not go together.

    `models` are loaded before the server listens. `most_texts` may wait to be encoded; a request has
    at most `most_bytes`, and `seconds` from its head to its answer's end.
    """

    dsn: str
    host: str = "127.0.0.1"
    port: int = 8100
    token: str | None = None
    models: tuple[str, ...] = ()
    most_models: int = 2
    most_texts: int = 4_096
    most_bytes: int = 8 * 2**20
    seconds: float = 60.0
    connections: int = 4
    statement_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise GtePgError(
                f"other machines could reach {self.host}, and no token is given: name a file that "
                "holds one with --token-file, set GTE_PG_SERVE_TOKEN, or use --host 127.0.0.1"
            )
        if self.token is not None and not (
            len(self.token) >= SHORTEST_TOKEN and self.token.isascii() and self.token.isprintable()
        ):
            raise GtePgError(
                f"the token has {len(self.token)} characters; it takes {SHORTEST_TOKEN} or more of "
                "ASCII: openssl rand -hex 32 writes one"
            )
        if len(self.models) > self.most_models:
            raise GtePgError(
                f"{len(self.models)} models are to be loaded and {self.most_models} kept in memory: "
                f"give --max-models {len(self.models)}"
            )


def is_loopback(host: str) -> bool:
    """Tell whether a host, as a URL or a socket names it, is this machine by its loopback device."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
