"""What all probes share: where the nodes are, how a question is awaited, what silence means."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from helpers import wire
from helpers.rows import error_of
from helpers.schedule import Reading


@dataclass(frozen=True)
class Place:
    """Where the lab's nodes are: address per node, port per name, service per node."""

    address: dict[str, str]
    service: dict[str, str]
    ports: dict[str, int]


async def within(timeout: float, question: Awaitable[wire.Reply]) -> tuple[wire.Reply | None, str]:
    """Await an answer for `timeout` seconds; return it, or None, and the error category."""
    try:
        async with asyncio.timeout(timeout):
            reply = await question
    except (OSError, TimeoutError) as error:
        return None, wire.category(error)
    return reply, error_of(reply.status)


async def told(place: Place, node: str, path: str, timeout: float) -> tuple[Any, str]:
    """Return what a node's Consul agent answers, parsed, and `none`; or None and the error category."""
    address, port = place.address[node], place.ports["consul_http"]
    reply, error = await within(timeout, wire.ask(address, port, "GET", path))
    return (json.loads(reply.body), error) if reply is not None and error == "none" else (None, error)


class One:
    """Base of the probes with a single lane."""

    source: str
    vantage = "host"
    target: str
    check: str
    timeout: float

    def choose(self) -> str:
        """Return the target itself: nothing to choose from."""
        return self.target

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Return one reading for the lane."""
        if chosen not in ("", self.target) and not raw:
            raw = f"@{chosen}"
        return [Reading(self.target, self.check, raw, error)]
