"""Who may ask: whoever has the token; without one, programs on this machine.

A web page that someone on this machine has open is not one of them. It could send a form to the
loopback address, or have its own name point there, so a request must call itself JSON, for which a
browser asks leave that it does not get, and must name the host by a loopback name.
"""

from __future__ import annotations

import hmac

from starlette.requests import Request

from gte_pg.serve.problem import Problem
from gte_pg.serve.settings import is_loopback

__all__ = ["Gate"]


class Gate:
    def __init__(self, token: str | None) -> None:
        self._token = token

    def check(self, request: Request) -> None:
        """Raise Problem (401, 403, 415) for a request that may not pass."""
        if self._token is not None:
            self._check_token(request.headers.get("authorization", ""), self._token)
        elif not is_loopback(request.url.hostname or ""):
            raise Problem(
                403,
                f"the request is for the host {request.url.hostname!r}, and a server without a token "
                "answers to localhost only",
            )
        if request.method == "POST":
            self._check_type(request.headers.get("content-type", ""))

    @staticmethod
    def _check_token(authorization: str, token: str) -> None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(), token.encode()
        ):
            raise Problem(
                401,
                "the token is missing or wrong; send the server's as Authorization: Bearer …",
                code="invalid_api_key",
            )

    @staticmethod
    def _check_type(content_type: str) -> None:
        if content_type.partition(";")[0].strip().lower() != "application/json":
            raise Problem(
                415, f"the request's type is {content_type!r}; send Content-Type: application/json"
            )
