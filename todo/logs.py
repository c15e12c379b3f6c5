"""Logs as a stream of events (twelve factors: XI): one JSON object per line on stdout.

The service's own events, the access log and the lines of uvicorn and the client libraries
all have the same shape: `time`, `level`, `event`, `instance`, `request_id` inside of a
request, and what belongs to the event. No event carries a password, a token or a body.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

log = structlog.get_logger("todo.access")


class Forward(logging.Handler):
    """Passes what uvicorn and the libraries log on to structlog, so that all lines look alike."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record's text under its logger's name."""
        event: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        structlog.get_logger().log(record.levelno, record.getMessage(), **event)


def configure(level: str, instance: str) -> None:
    """Send every log of the process to stdout as JSON lines, from `level` on."""
    minimum = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _Instance(instance),
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_serialize),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(minimum),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[Forward()], level=minimum, force=True)
    # Below warning, the HTTP client logs every request, and its paths say too much.
    for chatty in ("urllib3", "asyncio"):
        logging.getLogger(chatty).setLevel(max(minimum, logging.WARNING))


class _Instance:
    """A structlog processor that adds which instance speaks."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, _logger: Any, _method: str, event: Any) -> Any:
        event["instance"] = self.name
        return event


def _serialize(event: dict[str, Any], **_: Any) -> str:
    ordered = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    return json.dumps({**ordered, **event}, default=str, ensure_ascii=False)


class AccessLog:
    """ASGI middleware: gives every request an id, returns it, and logs one line per request.

    A client's own `X-Request-Id` is kept if it is short and plain, so that a request can be
    followed through several services.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = 0
        begin = time.perf_counter()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, answer)
        finally:
            client = scope.get("client")
            log.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                milliseconds=round((time.perf_counter() - begin) * 1000, 2),
                client=client[0] if client else None,
            )
            structlog.contextvars.clear_contextvars()
