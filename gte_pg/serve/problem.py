"""What went wrong with a request, as its answer: a status and OpenAI's error shape.

{"error": {"message": "…", "type": "invalid_request_error", "param": "input", "code": null}}
"""

from __future__ import annotations

import json

import psycopg
from psycopg_pool import PoolTimeout

from gte_pg.errors import DatabaseError, EncodingError, GtePgError, ModelNotFound, QueryError

__all__ = ["Problem", "busy", "problem_of"]

# How many seconds a client is asked to wait before it tries again.
RETRY_AFTER = 1


class Problem(Exception):  # noqa: N818 - it is an answer as much as an error
    """An answer other than 200. `param` is the field of the request that is wrong."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    @property
    def headers(self) -> dict[str, str]:
        if self.status == 503:
            return {"retry-after": str(RETRY_AFTER)}
        return {"www-authenticate": "Bearer"} if self.status == 401 else {}

    @property
    def body(self) -> bytes:
        error = {
            "message": str(self),
            "type": "server_error" if self.status >= 500 else "invalid_request_error",
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": error}).encode()


def busy(what: str) -> Problem:
    """Return the answer of a server that has as much to do as it may: ask again."""
    return Problem(503, f"{what}; try again in {RETRY_AFTER} s", code="busy")


def problem_of(error: Exception) -> Problem | None:
    """Return the answer to an error that was foreseen; None for one that was not."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, GtePgError):
        return _of_ours(error)
    if isinstance(error, (psycopg.Error, PoolTimeout)):
        return _of_postgres(error)
    return None


def _of_ours(error: GtePgError) -> Problem:
    match error:
        case EncodingError():
            place = "" if error.index is None else f"input[{error.index}]: "
            return Problem(400, f"{place}{error}")
        case QueryError():
            return Problem(400, str(error))
        case ModelNotFound():
            return Problem(404, str(error), code="model_not_found")
        case DatabaseError():
            return Problem(404, str(error), code="table_not_found")
        case _:
            return Problem(500, str(error))


def _of_postgres(error: Exception) -> Problem:
    match error:
        case psycopg.errors.QueryCanceled():
            return Problem(504, f"the search took too long: Postgres says {_first_line(error)}")
        case psycopg.errors.InsufficientPrivilege():
            return Problem(403, f"the server's role may not read it: {_first_line(error)}")
        case psycopg.DataError():
            return Problem(400, f"Postgres says: {_first_line(error)}")
        case psycopg.OperationalError() | PoolTimeout():
            return busy("the database cannot be reached, or all connections to it are taken")
        case _:
            return Problem(500, f"Postgres says: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
