"""What clients may send: todos, ids, and no more than the limit."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from todo.body import LARGEST_ID, BadBodyError, BodyLimit, parse, parse_id


def test_missing_fields_are_empty_strings() -> None:
    todo = parse(b"{}", 1024)
    assert (todo.id, todo.status, todo.content) == (0, "", "")


def test_unknown_fields_and_the_id_are_ignored() -> None:
    todo = parse(b'{"id": 0, "status": "new", "content": "x", "colour": [1, {}]}', 1024)
    assert (todo.status, todo.content) == ("new", "x")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"nonsense",
        b"[]",
        b'[{"status": "new"}]',
        b"3",
        b"null",
        b'"text"',
        b'{"status": 3}',
        b'{"status": null}',
        b'{"content": ["x"]}',
        b'{"id": "1"}',
        b'{"id": 1.5}',
        b'{"id": true}',
        b'{"content": "\xff\xfe"}',
        b'{"content": "\\ud800"}',
        b"[" * 60000,
        json.dumps({"status": "x" * 256}).encode(),
        json.dumps({"content": "x" * 1025}).encode(),
    ],
)
def test_anything_else_is_refused_in_a_sentence(body: bytes) -> None:
    with pytest.raises(BadBodyError) as caught:
        parse(body, 1024)
    assert 5 < len(str(caught.value)) < 200


def test_lengths_are_counted_in_characters_not_bytes() -> None:
    assert parse(json.dumps({"content": "é" * 1024}, ensure_ascii=False).encode(), 1024)
    with pytest.raises(BadBodyError, match="content"):
        parse(b'{"content": "four"}', 3)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("+7", 7),
        ("007", 7),
        (str(LARGEST_ID), LARGEST_ID),
        (str(LARGEST_ID + 1), 0),
        ("0", 0),
        ("-1", 0),
        ("9" * 5000, 0),
        ("-" + "9" * 5000, 0),
    ],
)
def test_an_id_no_row_can_have_is_zero(text: str, number: int) -> None:
    assert parse_id(text) == number


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "0x1", "1_000", " 1", "1 ", "٣", "--1"])
def test_an_id_that_is_no_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="integer"):
        parse_id(text)


async def measure(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def chunks(total: int) -> AsyncIterator[bytes]:
    for _ in range(total // 10):
        yield b"x" * 10


@pytest.mark.parametrize(("size", "status"), [(0, 200), (100, 200), (110, 413), (100_000, 413)])
def test_the_limit_holds_for_bodies_with_and_without_a_length(size: int, status: int) -> None:
    app = BodyLimit(Starlette(routes=[Route("/", measure, methods=["POST"])]), 100)

    async def post() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://todo") as client:
            return [await client.post("/", content=body) for body in (b"x" * size, chunks(size))]

    whole, chunked = asyncio.run(post())
    assert "content-length" in whole.request.headers
    assert "content-length" not in chunked.request.headers
    assert (whole.status_code, chunked.status_code) == (status, status)
