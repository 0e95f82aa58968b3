"""The HTTP application: which path is answered by what."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gte_pg.serve.embeddings import embeddings
from gte_pg.serve.endpoint import JSON, Answer, Endpoint
from gte_pg.serve.gate import Gate
from gte_pg.serve.health import health_routes
from gte_pg.serve.intake import Intake
from gte_pg.serve.problem import Problem
from gte_pg.serve.search import search, vectors
from gte_pg.serve.service import Service
from gte_pg.serve.settings import Settings
from gte_pg.serve.sparse import sparse

__all__ = ["application"]

ANSWERS: dict[str, Answer] = {
    "/v1/embeddings": embeddings,
    "/v1/sparse": sparse,
    "/search": search,
    "/vectors": vectors,
}


def application(service: Service, settings: Settings) -> Starlette:
    gate = Gate(settings.token)
    intake = Intake(service.metrics, most_bytes=settings.most_bytes)

    def route(path: str, answer: Answer) -> Route:
        endpoint = Endpoint(path, answer, service, gate, intake, settings.seconds)
        return Route(path, endpoint, methods=["POST"])

    return Starlette(
        routes=[*(route(*each) for each in ANSWERS.items()), *health_routes(service, gate)],
        exception_handlers={
            HTTPException: _routing_problem,
            Problem: _problem,
            Exception: _unforeseen,
        },
    )


async def _routing_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail.lower()}"
    return _written(Problem(error.status_code, message), dict(error.headers or {}))


async def _problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _written(error, error.headers)


async def _unforeseen(_request: Request, _error: Exception) -> Response:
    return _written(Problem(500, "the server failed; its log says how"), {})


def _written(problem: Problem, headers: dict[str, str]) -> Response:
    return Response(problem.body, problem.status, JSON | headers)
