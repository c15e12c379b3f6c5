"""The HTTP interface: routes, errors as JSON, and the description at /openapi.json."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo.body import BadBodyError, BodyLimit, Error, Todo, TodoId, TodoIn, parse
from todo.database import Database
from todo.errors import UnavailableError
from todo.health import Checker, Health
from todo.logs import AccessLog

BODY = {
    "requestBody": {
        "required": True,
        "description": "Read as JSON whatever its Content-Type says.",
        "content": {"application/json": {"schema": TodoIn.model_json_schema()}},
    }
}
WHY: dict[int | str, str] = {
    400: "The id is not an integer, or the body is not a todo",
    404: "There is no todo with this id",
    413: "The body is too large",
    503: "The database cannot be asked now",
    "default": "Any other failure",
}

log = structlog.get_logger("todo.app")


def failures(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route for OpenAPI."""
    described: tuple[int | str, ...] = (*codes, "default")
    return {code: {"model": Error, "description": WHY[code]} for code in described}


def build(database: Database, checker: Checker, body_limit: int, content_limit: int) -> ASGIApp:
    """Return the application; limits in bytes and characters."""
    app = FastAPI(
        title="todo",
        version="1",
        description="Todos in MySQL, with credentials that live for a minute.",
        docs_url=None,  # these pages load their scripts from the internet
        redoc_url=None,
        redirect_slashes=False,
    )

    @app.get(
        "/health",
        responses={200: {"model": Health}, 503: {"model": Health}, "default": {"model": Error}},
        summary="Say whether this instance can serve",
    )
    async def health() -> JSONResponse:
        code, body = await checker.answer()
        return JSONResponse(body, code)

    @app.get("/todo", responses=failures(503), response_model=list[Todo], summary="List all todos")
    def list_todos() -> JSONResponse:
        return JSONResponse(database.all())

    @app.post(
        "/todo",
        status_code=201,
        response_model=Todo,
        responses={
            201: {"headers": {"Location": {"schema": {"type": "string"}, "description": "`todo/<id>`"}}},
            **failures(400, 413, 503),
        },
        openapi_extra=BODY,
        summary="Store a todo; the database gives it its id",
    )
    async def create_todo(request: Request) -> JSONResponse:
        todo = parse(await request.body(), content_limit)
        new = await run_in_threadpool(database.insert, todo.status, todo.content)
        body = {"id": new, "status": todo.status, "content": todo.content}
        return JSONResponse(body, 201, headers={"Location": f"todo/{new}"})

    @app.get(
        "/todo/{todo_id}",
        response_model=Todo,
        responses=failures(400, 404, 503),
        summary="Return one todo",
    )
    def get_todo(todo_id: TodoId) -> JSONResponse:
        found = database.get(todo_id) if todo_id else None
        if found is None:
            raise unknown()
        return JSONResponse(found)

    @app.put(
        "/todo/{todo_id}",
        response_model=Todo,
        responses=failures(400, 404, 413, 503),
        openapi_extra=BODY,
        summary="Replace a todo: a missing field becomes the empty string",
    )
    async def replace_todo(todo_id: TodoId, request: Request) -> JSONResponse:
        todo = parse(await request.body(), content_limit)
        if not todo_id or not await run_in_threadpool(database.update, todo_id, todo.status, todo.content):
            raise unknown()
        return JSONResponse({"id": todo_id, "status": todo.status, "content": todo.content})

    @app.delete(
        "/todo/{todo_id}",
        status_code=204,
        response_class=Response,
        responses=failures(400, 404, 503),
        summary="Delete a todo",
    )
    def delete_todo(todo_id: TodoId) -> Response:
        if not todo_id or not database.delete(todo_id):
            raise unknown()
        return Response(status_code=204, media_type="application/json")

    _errors_as_json(app)
    return AccessLog(Draining(BodyLimit(app, body_limit), checker))


def unknown() -> HTTPException:
    """Return the exception that becomes the 404 of an unknown id."""
    return HTTPException(404, "there is no todo with this id")


def _errors_as_json(app: FastAPI) -> None:
    """Give every failure a body `{"error": …}`."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(allowed(app, request.scope))
        return _error(error.status_code, str(error.detail), headers)

    @app.exception_handler(RequestValidationError)
    async def bad_id(_: Request, error: RequestValidationError) -> JSONResponse:
        return _error(400, str(error.errors()[0]["msg"]).removeprefix("Value error, "))

    @app.exception_handler(BadBodyError)
    async def bad_body(_: Request, error: BadBodyError) -> JSONResponse:
        return _error(400, str(error))

    @app.exception_handler(UnavailableError)
    async def unavailable(_: Request, error: UnavailableError) -> JSONResponse:
        return _error(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        log.error("internal_error", exc_info=error)
        return _error(500, "internal error; the log has the details")


def _error(code: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, code, headers=headers)


def allowed(app: FastAPI, scope: Scope) -> list[str]:
    """Return the methods that the routes of a path take; Starlette names the first route's only."""
    methods: set[str] = set()
    for route in app.router.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return sorted(methods)


class Draining:
    """ASGI middleware: while the service drains, every answer ends its connection.

    A client that reuses its connections then opens the next one elsewhere, instead of finding
    this one closed under its next request.
    """

    def __init__(self, app: ASGIApp, checker: Checker) -> None:
        """Wrap `app`; `checker.draining` says when."""
        self.app = app
        self.checker = checker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start" and self.checker.draining:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self.app(scope, receive, answer)
