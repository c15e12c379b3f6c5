"""What clients send: the limit on a body's size, and the todo inside of it.

The request's Content-Type is never looked at: `curl -d '{…}'` says it is a form and means JSON.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from todo.settings import COLUMN_CONTENT, COLUMN_STATUS

LARGEST_ID = 2**31 - 1
"""The largest number that the column `id` (INT) holds."""


class BadBodyError(ValueError):
    """The body is not a todo: the text says what is wrong with it."""


class TodoIn(BaseModel):
    """A todo as a client sends it. A missing field is the empty string."""

    model_config = ConfigDict(strict=True, extra="ignore", title="TodoIn")

    id: int = Field(0, description="Ignored: the database or the path says which id it is.")
    status: str = Field("", max_length=COLUMN_STATUS, examples=["new"])
    content: str = Field("", max_length=COLUMN_CONTENT, examples=["read chapter two"])


class Todo(BaseModel):
    """A todo as it is stored."""

    id: int = Field(ge=1, le=LARGEST_ID)
    status: str
    content: str


class Error(BaseModel):
    """Why a request failed."""

    error: str


def parse(body: bytes, content_limit: int) -> TodoIn:
    """Read a todo from a request's body; `content_limit` in characters.

    Raises `BadBodyError` for anything but a JSON object with fields of the right type and length.
    """
    if not body.strip():
        raise BadBodyError("the body is empty: send a JSON object")
    try:
        todo = TodoIn.model_validate_json(body)
    except ValidationError as error:
        raise BadBodyError(_sentence(error)) from None
    if len(todo.content) > content_limit:
        raise BadBodyError(f"content: at most {content_limit} characters are allowed")
    return todo


def _sentence(error: ValidationError) -> str:
    parts = []
    for item in error.errors(include_url=False, include_input=False):
        field = ".".join(str(part) for part in item["loc"])
        if item["type"] == "json_invalid":
            return f"the body is not JSON ({item['ctx']['error']})"
        if not field:
            return "the body must be a JSON object"
        parts.append(f"{field}: {item['msg'][:1].lower()}{item['msg'][1:]}")
    return "; ".join(parts)


def parse_id(text: object) -> int:
    """Read an id from a path. One that no row can have is 0, whatever its length.

    Raises `ValueError` for anything but an integer in plain decimal digits.
    """
    if isinstance(text, int):
        return text
    if not re.fullmatch(r"[+-]?[0-9]+", str(text)):
        raise ValueError("the id must be an integer")
    number = int(str(text)[:40])
    return number if 1 <= number <= LARGEST_ID else 0


TodoId = Annotated[int, BeforeValidator(parse_id)]


class BodyLimit:
    """ASGI middleware: 413 for a body of more than `limit` bytes.

    An honest Content-Length is refused before anything is read; a body in chunks as soon as it
    has grown too large. The exception becomes an answer in the application's own handler.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        """Wrap `app`; `limit` in bytes."""
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        known = int(declared) if declared.isdigit() else 0
        read = 0

        async def limited() -> Message:
            nonlocal read
            if known > self.limit:
                raise too_large(self.limit)
            message = await receive()
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                if read > self.limit:
                    raise too_large(self.limit)
            return message

        await self.app(scope, limited, send)


def too_large(limit: int) -> HTTPException:
    """Return the exception that becomes the 413."""
    return HTTPException(413, f"the body is larger than {limit} bytes")
