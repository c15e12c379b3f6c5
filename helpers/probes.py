"""What the recorder asks: one small class per source.

A probe says what it asks (`choose`, `ask`) and what silence means for its lanes (`silence`);
when to ask is `helpers/schedule.py`'s matter, what a raw answer means `rows.state_of`'s.
The catalog is not asked but listened to: Consul answers a blocking query at the change.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psutil

from helpers import wire
from helpers.rows import Sample, error_of, state_of
from helpers.schedule import Reading

#: Seconds after which the agent answers a blocking query even without a change. Every answer
#: confirms all states; a frozen agent is noticed `HOLD` · 17/16 (Consul adds up to a
#: sixteenth: its documentation of blocking queries) plus a time-out after the last one.
HOLD = 2.0
#: Seconds between two questions to an agent that fails them at once.
PACE = 0.25

_WORST = {"passing": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Place:
    """Where the lab's nodes are: address per node, port per name, service per node."""

    address: dict[str, str]
    service: dict[str, str]
    ports: dict[str, int]


@dataclass
class View:
    """The catalog as one agent tells it: raw status per (node, check); None while it is silent."""

    raw: dict[tuple[str, str], str] | None = None

    def passing(self, service: str, tag: str = "") -> list[str]:
        """Return the nodes whose instance of a service a client would be sent to.

        As Consul's own filter does it: every check of the instance and of its node passes.
        A tag alone is not enough: a killed leader keeps its tag `active`.
        """
        raw = self.raw or {}
        wanted = f"passing {tag}".strip()
        failed = {n for (n, c), r in raw.items() if c in _NODE_CHECKS and r != "passing"}
        return sorted(
            node
            for (node, check), text in raw.items()
            if check == service and text.startswith(wanted) and node not in failed
        )


_NODE_CHECKS = frozenset({"serfHealth", "_node_maintenance"})


def fold(checks: Iterable[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Return one raw status per (node, service or node check) from Consul's check entries.

    A service counts with the worst of its checks (maintenance adds one), as in Consul.
    Vault's role is in its tags, `active` or `standby`, and goes behind the status.
    """
    folded: dict[tuple[str, str], str] = {}
    for entry in checks:
        lane = entry["Node"], entry["ServiceName"] or entry["CheckID"]
        status = entry["Status"]
        tags = entry.get("ServiceTags") or ()
        role = next((f" {tag}" for tag in ("active", "standby") if tag in tags), "")
        known = folded.get(lane, "passing").partition(" ")[0]
        folded[lane] = max(status, known, key=_WORST.__getitem__) + role
    return folded


async def within(timeout: float, question: Awaitable[wire.Reply]) -> tuple[wire.Reply | None, str]:
    """Await an answer for `timeout` seconds; return it, or None, and the error category."""
    try:
        async with asyncio.timeout(timeout):
            reply = await question
    except (OSError, TimeoutError) as error:
        return None, wire.category(error)
    return reply, error_of(reply.status)


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
        address, port = self._place.address[chosen], self._place.ports["consul_http"]
        reply, error = await within(self.timeout, wire.ask(address, port, "GET", "/v1/agent/checks"))
        if reply is None or error != "none":
            return self.silence(chosen, "", error)
        found = fold(json.loads(reply.body).values())
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
        address, port = self._place.address[self.vantage], self._place.ports["consul_http"]
        reply, error = await within(self.timeout, wire.ask(address, port, "GET", "/v1/status/leader"))
        if reply is None or error != "none":
            return self.silence(chosen, "", error)
        return [Reading(self.target, self.check, json.loads(reply.body))]


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


@dataclass
class Token:
    """A secret in a file, read anew when the file changes; None while there is none."""

    path: Path
    _read_at: int = field(default=-1, init=False)
    _text: str | None = field(default=None, init=False)

    def read(self) -> str | None:
        """Return the token."""
        try:
            changed = self.path.stat().st_mtime_ns
            if changed != self._read_at:
                self._text, self._read_at = self.path.read_text().strip(), changed
        except OSError:
            self._text, self._read_at = None, -1
        return self._text


class User(One):
    """Base of the probes that do what a user does: directly, or where discovery sends them."""

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, tag: str = "") -> None:
        """Ask the node `target`, or with a `view` a random passing instance of that service."""
        self.target = target
        self.timeout = timeout
        self.place = place
        self.view = view
        self._tag = tag

    def choose(self) -> str:
        """Return the node to ask; empty when discovery offers none."""
        if self.view is None:
            return self.target
        offered = self.view.passing(self.target, self._tag)
        return random.choice(offered) if offered else ""

    def nowhere(self) -> list[Reading]:
        """Discovery offers nobody: the user fails, and the error says which way."""
        assert self.view is not None
        return self.silence("", "", "servfail" if self.view.raw is None else "nxdomain")

    def read(self, chosen: str, reply: wire.Reply | None, error: str) -> list[Reading]:
        """Return the reading of the operation's last answer."""
        if reply is None:
            return self.silence(chosen, "", error)
        raw = str(reply.status) if chosen == self.target else f"{reply.status} @{chosen}"
        return [Reading(self.target, self.check, raw, error)]


class Secret(User):
    """Whether a secret can be written: a put into the token's own cubbyhole.

    It needs no mount, goes to the storage, and a standby forwards it; a Vault that has lost
    its Consul fails it while `/v1/sys/health` still says 200.
    """

    source = "secret"
    check = "write"

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, token: Token) -> None:
        """Write with this token."""
        super().__init__(target, place, timeout, view, "active")
        self._token = token
        self._values = count()

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the status code; through discovery with the instance behind it."""
        token = self._token.read()
        if token is None:
            return self.silence(chosen, "no token", "other")
        if not chosen:
            return self.nowhere()
        address, port = self.place.address[chosen], self.place.ports["vault"]
        body = json.dumps({"value": next(self._values)}).encode()
        question = wire.ask(address, port, "PUT", f"/v1/cubbyhole/{self.target}", body, token)
        return self.read(chosen, *await within(self.timeout, question))


class Credential(User):
    """Whether a fresh database credential can be had: issued, then revoked at once."""

    source = "credential"
    check = "creds"

    def __init__(self, place: Place, timeout: float, view: View, token: Token, path: str) -> None:
        """Read `path`, such as `mysql/creds/todo`, at the active Vault."""
        super().__init__("vault", place, timeout, view, "active")
        self._token = token
        self._path = path

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the code of the issue, or of the revocation if only that one fails."""
        token = self._token.read()
        if token is None:
            return self.silence(chosen, "no token", "other")
        if not chosen:
            return self.nowhere()
        address, port = self.place.address[chosen], self.place.ports["vault"]

        async def issue_and_revoke() -> wire.Reply:
            issued = await wire.ask(address, port, "GET", f"/v1/{self._path}", b"", token)
            if issued.status != 200:
                return issued
            lease = json.dumps({"lease_id": json.loads(issued.body)["lease_id"]}).encode()
            revoked = await wire.ask(address, port, "PUT", "/v1/sys/leases/revoke", lease, token)
            return issued if error_of(revoked.status) == "none" else revoked

        return self.read(chosen, *await within(self.timeout, issue_and_revoke()))


class ReadWrite(User):
    """What a user of todo does: a todo of the probe's own is written, read back and deleted.

    All three go to one instance, over one connection unless it asks for another, as one operation
    with one time-out.
    """

    source = "todo"
    check = "rw"

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, mark: str) -> None:
        """Write todos whose content begins with `mark`, so that a left over one is known."""
        super().__init__(target, place, timeout, view)
        self._mark = mark
        self._values = count()
        self.attempt_timeout = timeout
        self.failed = False

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the code of the request that failed, or of the last, and the instance."""
        return self._reading(chosen, *await self.attempt(chosen))

    async def attempt(self, chosen: str) -> tuple[wire.Reply | None, str]:
        """Do the operation at one instance."""
        if not chosen:
            return None, self.nowhere()[0].error
        reply, error = await within(self.attempt_timeout, self._operation(chosen))
        self.failed |= error != "none"
        return reply, error

    def _reading(self, chosen: str, reply: wire.Reply | None, error: str) -> list[Reading]:
        answer = "" if reply is None else str(reply.status)
        raw = f"{answer} @{chosen}".strip() if chosen else ""
        return [Reading(self.target, self.check, raw, error)]

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Return one reading; the instance stands in `raw` for direct probes too."""
        return [Reading(self.target, self.check, raw or (chosen and f"@{chosen}"), error)]

    async def _operation(self, node: str) -> wire.Reply:
        content = f"{self._mark} {self.target} {next(self._values)}"
        body = json.dumps({"id": 0, "status": "new", "content": content}).encode()
        talk = await self._open(node)
        try:
            written = await talk.ask("POST", "/todo", body)
            if written.status != 201:
                return written
            path = f"/todo/{json.loads(written.body)['id']}"
            talk = await self._open(node, talk)
            found = await talk.ask("GET", path)
            if found.status != 200:
                return found
            if json.loads(found.body)["content"] != content:
                raise ConnectionResetError("another todo than the one written came back")
            talk = await self._open(node, talk)
            return await talk.ask("DELETE", path)
        finally:
            talk.end()

    async def _open(self, node: str, last: wire.Conversation | None = None) -> wire.Conversation:
        """Return the last connection, or a new one when the last answer said that it closes.

        An instance that drains says so (RFC 9112, 9.6), and it still takes new connections.
        """
        if last is not None and not last.closed:
            return last
        if last is not None:
            last.end()
        return await wire.converse(self.place.address[node], self.place.ports["todo"])

    async def sweep(self) -> None:
        """Delete what failed operations left behind, as far as an instance answers."""
        node = self.choose()
        if not node:
            return
        where = self.place.address[node], self.place.ports["todo"]
        reply = await wire.ask(*where, "GET", "/todo")
        if reply.status == 200:
            for todo in json.loads(reply.body):
                if todo["content"].startswith(f"{self._mark} "):
                    await wire.ask(*where, "DELETE", f"/todo/{todo['id']}")


class Retry(ReadWrite):
    """The same with what a careful client adds: one more attempt at another instance."""

    check = "rw-retry"

    def __init__(self, place: Place, timeout: float, view: View, mark: str) -> None:
        """Give each of the two attempts half of the time-out."""
        super().__init__("todo", place, timeout, view, mark)
        self.attempt_timeout = timeout / 2

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw names the instance of the last attempt."""
        assert self.view is not None
        reply, error = await self.attempt(chosen)
        others = [node for node in self.view.passing(self.target) if node != chosen]
        if error == "none" or not others:
            return self._reading(chosen, reply, error)
        second = random.choice(others)
        return self._reading(second, *await self.attempt(second))


class Ledger(User):
    """Writes todos that stay, and logs what became of each, to be checked one by one.

    An experiment asks afterwards: is every acknowledged todo in the table, and how many are
    there that nobody acknowledged?
    """

    source = "todo"
    check = "ledger"

    def __init__(
        self,
        place: Place,
        timeout: float,
        view: View,
        mark: str,
        log: Callable[[dict[str, Any]], None],
    ) -> None:
        """Write todos with content `MARK NUMBER`; `log` is called with each outcome."""
        super().__init__("todo", place, timeout, view)
        self._mark = mark
        self._log = log
        self._values = count()

    async def ask(self, chosen: str) -> list[Reading]:
        """Write one; its id is None in the log when nobody acknowledged it."""
        if not chosen:
            return self.nowhere()
        content = f"{self._mark} {next(self._values)}"
        body = json.dumps({"id": 0, "status": "new", "content": content}).encode()
        address, port = self.place.address[chosen], self.place.ports["todo"]
        reply, error = await within(self.timeout, wire.ask(address, port, "POST", "/todo", body))
        acknowledged = reply is not None and reply.status == 201
        number = json.loads(reply.body)["id"] if reply is not None and acknowledged else None
        self._log({"id": number, "content": content, "instance": chosen, "error": error})
        return self.read(chosen, reply, error)


class Processes:
    """What the operating system says about each program: running, stopped or gone.

    The process ids are in a file that the lab rewrites at each start (`"todo0:todo": 4711`).
    An id whose process is younger than the file belongs to somebody else by now: gone.
    """

    source = "process"
    vantage = "host"
    timeout = 1.0

    def __init__(self, targets: list[str], pids: Path) -> None:
        """Watch the programs `targets` (`NODE:PROGRAM`)."""
        self._targets = targets
        self._pids = pids
        self._read_at = -1
        self._processes: dict[str, psutil.Process] = {}

    def choose(self) -> str:
        """Return the machine: nothing to choose from."""
        return "host"

    async def ask(self, chosen: str) -> list[Reading]:
        """Look at every program; it takes microseconds and never waits."""
        try:
            self._reread()
        except (OSError, ValueError):
            return self.silence(chosen, "", "other")
        return [Reading(target, "process", self._state(target)) for target in self._targets]

    def silence(self, chosen: str, raw: str, error: str) -> list[Reading]:
        """Nothing is known about any program."""
        return [Reading(target, "process", raw, error) for target in self._targets]

    def _reread(self) -> None:
        changed = self._pids.stat().st_mtime_ns
        if changed == self._read_at:
            return
        processes = {}
        for target, pid in json.loads(self._pids.read_text()).items():
            try:
                process = psutil.Process(pid)
                if process.create_time() <= changed / 1e9 + 1:
                    processes[target] = process
            except psutil.Error:
                continue
        self._processes, self._read_at = processes, changed

    def _state(self, target: str) -> str:
        process = self._processes.get(target)
        if process is None:
            return "gone"
        try:
            status = process.status()
        except psutil.Error:
            status = psutil.STATUS_DEAD
        if status in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            del self._processes[target]
            return "gone"
        if status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            return "stopped"
        return "running"


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
