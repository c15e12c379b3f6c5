"""Consul's catalog, listened to and not asked: an answer comes at the change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

from helpers import wire
from helpers.probes.asking import Place, within
from helpers.probes.view import View, fold
from helpers.rows import Sample, state_of

#: Seconds after which the agent answers a blocking query even without a change. Every answer
#: confirms all states; a frozen agent is noticed `HOLD` · 17/16 (Consul adds up to a
#: sixteenth: its documentation of blocking queries) plus a time-out after the last one.
HOLD = 2.0
#: Seconds between two questions to an agent that fails them at once.
PACE = 0.25


class Catalog:
    """The catalog by a standing question to one agent, written down when it changes.

    A blocking query is answered at the change, so `sent` and `done` of a sample are both the
    arrival of the answer. Before a lane's new state its old one is written once more, one
    measured round trip earlier: until then the agent, which was there to answer, had nothing
    new to say. The edge is thereby known to milliseconds although nobody polled. Every answer
    without a change, one in about `HOLD` seconds, confirms all lanes.

    The tags of Vault come with the same entries: re-registering with another tag wakes the
    question (tried with Consul 1.22.5), so one question per agent is enough.
    """

    source = "consul_catalog"

    def __init__(
        self,
        vantage: str,
        place: Place,
        view: View,
        clock: Callable[[], float],
        write: Callable[[Sample], None],
        timeout: float,
    ) -> None:
        """Listen to the agent of `vantage`; expect every node of `place` and its service."""
        self._vantage = vantage
        self._view = view
        self._clock = clock
        self._write = write
        self._timeout = timeout
        self._where = place.address[vantage], place.ports["consul_http"]
        self._index = 0
        self._round_trip = 0.0
        self._last: dict[tuple[str, str], tuple[str, str, float]] = {}
        self._seq: dict[tuple[str, str], int] = {}
        self._lanes = {(node, "serfHealth") for node in place.address} | set(place.service.items())

    async def listen(self) -> None:
        """Ask again and again, until cancelled; questions that fail are `PACE` apart."""
        while True:
            asked = self._clock()
            if not await self._question():
                await asyncio.sleep(asked + PACE - self._clock())

    async def _question(self) -> bool:
        path = "/v1/health/state/any"
        limit = self._timeout
        if self._index:
            path += f"?index={self._index}&wait={HOLD:g}s"
            limit += HOLD * 17 / 16
        asked = self._clock()
        reply, error = await within(limit, wire.ask(*self._where, "GET", path))
        arrived = self._clock()
        found = {}
        if reply is not None and error == "none":
            try:
                found = fold(json.loads(reply.body))
            except (ValueError, KeyError, TypeError):
                error = "other"
        if reply is None or error != "none":
            self._index = 0
            self._view.raw = None
            for lane in sorted(self._lanes):
                self._put(lane, arrived, "", error, None)
            return False
        index = reply.consul_index or 0
        if self._index == 0:
            self._round_trip = arrived - asked
        # a restarted or restored server counts from a lower number: ask from the beginning
        self._index = index if index >= self._index else 0
        self._view.raw = found
        self._lanes |= found.keys()
        for lane in sorted(self._lanes):
            raw = found.get(lane, "absent")
            before, silent, at = self._last.get(lane, (raw, "none", arrived))
            still = arrived - self._round_trip
            if before != raw and silent == "none" and at < still:
                self._put(lane, still, before, "none", None)
            self._put(lane, arrived, raw, "none", index)
        return True

    def _put(self, lane: tuple[str, str], at: float, raw: str, error: str, index: int | None) -> None:
        seq = self._seq[lane] = self._seq.get(lane, -1) + 1
        self._last[lane] = raw, error, at
        state = state_of(self.source, raw, error)
        self._write(Sample(seq, at, at, at, self.source, self._vantage, *lane, state, raw, error, index))
