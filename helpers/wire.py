"""Questions on the wire: one HTTP/1.1 conversation, one DNS packet, and why none came back.

Why not httpx: the bench (`tests/bench/recorder.py`) measures both. One request on a fresh
connection takes 0.2 ms of processor time with the lines below and 1.5 ms with httpx; at 10 Hz
on six nodes the recorder would take a fifth of a core more from the cluster that it measures.
The parsing is httptools', the one that uvicorn uses.

Every operation opens a fresh connection and closes it afterwards. A pool would be cheaper
and would hide what is measured: a process that no longer accepts anybody still answers on
connections that it accepted before, and a client that has just resolved a name has none.
Redirects are never followed: the target was asked, not who it points to.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import dns.message
import dns.rcode
import dns.rdatatype
import httptools


class Reply(NamedTuple):
    """An HTTP answer: status, Consul's index (if it carries one) and body."""

    status: int
    consul_index: int | None
    body: bytes


def category(error: BaseException) -> str:
    """Return the error category (`helpers.rows.ERRORS`) of an exception of this module."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionError):
        return "reset"
    return "other"


class Conversation(asyncio.Protocol):
    """One connection; requests one after the other. Made by `converse`."""

    def __init__(self, host: str) -> None:
        """Start without a connection; `host` is what the Host header says."""
        self._host = host
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._parser: Any = None
        self._index: int | None = None
        self._body: list[bytes] = []
        self.closed = False

    async def ask(self, method: str, path: str, body: bytes = b"", token: str | None = None) -> Reply:
        """Send one request and return its answer.

        Raises `ConnectionError` when the connection ends first or what arrives is not HTTP.
        There is no time-out here: the caller has one for the whole operation.
        """
        if self._transport is None or self.closed:
            raise ConnectionResetError("the connection is closed")
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n"
        if token is not None:
            head += f"X-Vault-Token: {token}\r\n"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self._parser = httptools.HttpResponseParser(self)
        self._index, self._body = None, []
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode() + b"\r\n" + body)
        return await self._answer

    def end(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Feed the parser (asyncio calls this)."""
        if self._answer is None or self._answer.done():
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._answer.set_exception(ConnectionResetError(f"not HTTP: {error}"))

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that waits, if any (asyncio calls this)."""
        self.closed = True
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep Consul's index (the parser calls this)."""
        if name.lower() == b"x-consul-index":
            self._index = int(value)

    def on_body(self, data: bytes) -> None:
        """Collect the body (the parser calls this)."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Deliver the answer (the parser calls this)."""
        if self._answer is not None and not self._answer.done():
            self.closed = not self._parser.should_keep_alive()
            self._answer.set_result(Reply(self._parser.get_status_code(), self._index, b"".join(self._body)))


async def converse(address: str, port: int) -> Conversation:
    """Open a connection; raises `OSError` as the operating system does."""
    loop = asyncio.get_running_loop()
    _, conversation = await loop.create_connection(lambda: Conversation(f"{address}:{port}"), address, port)
    return conversation


async def ask(
    address: str,
    port: int,
    method: str,
    path: str,
    body: bytes = b"",
    token: str | None = None,
) -> Reply:
    """Ask one question on a connection of its own."""
    conversation = await converse(address, port)
    try:
        return await conversation.ask(method, path, body, token)
    finally:
        conversation.end()


class Resolver(asyncio.DatagramProtocol):
    """Asks one DNS server, without any cache. Made by `resolver`."""

    def __init__(self) -> None:
        """Start with no question asked."""
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self._questions: dict[str, bytes] = {}

    def connection_made(self, transport: Any) -> None:
        """Keep the transport (asyncio calls this)."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Hand an answer to who asked (asyncio calls this)."""
        waiting = self._waiting.get(int.from_bytes(data[:2], "big"))
        if waiting is not None and not waiting.done():
            waiting.set_result(data)

    def error_received(self, error: Exception) -> None:
        """Tell all who wait that nobody listens there (asyncio calls this)."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    @contextmanager
    def _place(self) -> Iterator[tuple[int, asyncio.Future[bytes]]]:
        number = random.randrange(2**16)
        while number in self._waiting:
            number = random.randrange(2**16)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            yield number, waiting
        finally:
            del self._waiting[number]

    async def addresses(self, name: str) -> tuple[str, list[str]]:
        """Return the answer's code (`NOERROR`, `NXDOMAIN`, `SERVFAIL`, …) and the A records.

        A lost packet is never answered: the caller has a time-out.
        """
        if name not in self._questions:
            self._questions[name] = dns.message.make_query(name, dns.rdatatype.A).to_wire()
        with self._place() as (number, waiting):
            assert self._transport is not None
            self._transport.sendto(struct.pack(">H", number) + self._questions[name][2:])
            answer = dns.message.from_wire(await waiting)
        found = [str(record) for entry in answer.answer for record in entry]
        return dns.rcode.to_text(answer.rcode()), found


async def resolver(address: str, port: int) -> Resolver:
    """Return a resolver that asks the server at this address."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_datagram_endpoint(Resolver, remote_addr=(address, port))
    return protocol
