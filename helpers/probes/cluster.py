"""What Consul's agents and Vault say about themselves and about others."""

from __future__ import annotations

import asyncio

from helpers import wire
from helpers.probes.asking import One, Place, told, within
from helpers.probes.view import fold
from helpers.rows import state_of
from helpers.schedule import Reading


class AgentChecks:
    """What one node's agent says about the checks that it runs itself."""

    source = "consul_agent"

    def __init__(self, node: str, place: Place, timeout: float) -> None:
        """Ask the agent of `node`; its service is expected to be there."""
        self.vantage = node
        self.timeout = timeout
        self._place = place
        self._lanes = {(node, place.service[node])}

    def choose(self) -> str:
        """Return the node."""
        return self.vantage

    async def ask(self, chosen: str) -> list[Reading]:
        """Read the agent's checks; an expected one that is not there is `absent`."""
        checks, error = await told(self._place, chosen, "/v1/agent/checks", self.timeout)
        if error != "none":
            return self.silence(chosen, "", error)
        found = fold(checks.values())
        self._lanes |= found.keys()
        return [Reading(*lane, found.get(lane, "absent")) for lane in sorted(self._lanes)]

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Nothing is known about any check of this agent."""
        return [Reading(*lane, raw, error) for lane in sorted(self._lanes)]


class Leader(One):
    """Whether an agent knows a leader of the Consul servers."""

    source = "consul_leader"
    target = "consul"
    check = "leader"

    def __init__(self, vantage: str, place: Place, timeout: float) -> None:
        """Ask the agent of the node `vantage`."""
        self.vantage = vantage
        self.timeout = timeout
        self._place = place

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the leader's address, empty when there is none."""
        leader, error = await told(self._place, self.vantage, "/v1/status/leader", self.timeout)
        if error != "none":
            return self.silence(chosen, "", error)
        return [Reading(self.target, self.check, leader)]


class Name(One):
    """What a client's agent answers to a DNS question, without a resolver's cache."""

    source = "dns"
    check = "A"

    def __init__(self, name: str, vantage: str, place: Place, timeout: float) -> None:
        """Ask the agent of `vantage` for `name` below `service.consul`."""
        self.target = name
        self.vantage = vantage
        self.timeout = timeout
        self._place = place
        self._node = {address: node for node, address in place.address.items()}
        self._resolver: wire.Resolver | None = None

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the names of the nodes whose addresses came, sorted."""
        address, port = self._place.address[self.vantage], self._place.ports["consul_dns"]
        try:
            async with asyncio.timeout(self.timeout):
                if self._resolver is None:
                    self._resolver = await wire.resolver(address, port)
                code, found = await self._resolver.addresses(f"{self.target}.service.consul")
        except (OSError, TimeoutError) as error:
            return self.silence(chosen, "", wire.category(error))
        if code not in ("NOERROR", "NXDOMAIN"):
            return self.silence(chosen, "", "servfail")
        names = ",".join(sorted(self._node.get(address, address) for address in found))
        return [Reading(self.target, self.check, names, "nxdomain" if code == "NXDOMAIN" else "none")]


class Health(One):
    """What a Vault says about itself. It says 200 while its writes fail: see `Secret`."""

    source = "vault"
    check = "health"

    def __init__(self, node: str, place: Place, timeout: float) -> None:
        """Ask the Vault of `node` directly."""
        self.target = node
        self.timeout = timeout
        self._place = place

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the status code."""
        address, port = self._place.address[chosen], self._place.ports["vault"]
        reply, error = await within(self.timeout, wire.ask(address, port, "GET", "/v1/sys/health"))
        if reply is None:
            return self.silence(chosen, "", error)
        raw = str(reply.status)
        fine = state_of(self.source, raw, "none") == "up"
        return [Reading(self.target, self.check, raw, "none" if fine else error)]
