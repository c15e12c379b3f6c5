"""Faults: what can be broken, planned purely and done in one call each.

A fault is a small class with three verbs: `plan` says what it would do and to whom (pure), `inject`
does it, `heal` undoes exactly that and may be called twice. A new kind is one class here and touches
nothing else; its words travel in the plan, so that figures know no fault kinds.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

import consul
import requests

from helpers import vault_steps
from helpers.errors import LabError
from helpers.topology import Target, Topology

if TYPE_CHECKING:
    from helpers.drivers import Driver
    from helpers.lab import Lab


@dataclass(frozen=True)
class Plan:
    """What a fault is about to do: to which programs, and how a figure names it.

    `role` is the target as the reader wrote it (`vault.leader`), `label` the text of a figure's bar,
    `drawing` how the bar looks if it is not plain (`helpers.style.Drawing`), `peers` from which other nodes
    the victims are cut off; empty: from every one.
    """

    fault: str
    role: str
    targets: tuple[Target, ...]
    label: str
    drawing: dict[str, str] = field(default_factory=dict)
    peers: tuple[str, ...] = ()

    @property
    def nodes(self) -> list[str]:
        """The nodes that are hit, each once."""
        return list(dict.fromkeys(target.node for target in self.targets))


class Fault(Protocol):
    """One kind of fault."""

    name: ClassVar[str]
    words: ClassVar[str]
    needs: ClassVar[str | None]
    between: ClassVar[bool]

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Say what would be done; pure. Raises `LabError` for a target that cannot suffer this."""

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Do it."""

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Undo it; nothing happens when there is nothing to undo."""


FAULTS: dict[str, Fault] = {}


def register(kind: type[Fault]) -> type[Fault]:
    """Make a fault known by its name."""
    FAULTS[kind.name] = kind()
    return kind


# What a capability of a driver is to a reader, and what to do where it is missing.
NEEDS = {
    "network": (
        "nodes with a network of their own",
        "pause for silence, or LAB_DRIVER=netns (Linux, root)",
    ),
    "delay": (
        "packets that can be delayed (netem, a part of the kernel)",
        "pause for a service that does not answer in time, or LAB_DRIVER=netns on a kernel with netem",
    ),
}


def plan(lab: Lab, fault: str, role: str) -> Plan:
    """Resolve a target as it is now and plan a fault on it.

    A `role` such as `todo0/mysql` or `vault.leader/consul,mysql` names after the slash from whom a network
    fault separates it. Raises `LabError` for an unknown fault, an unknown target, one that does not run, or a
    driver that cannot do it.
    """
    if (missing := lacking(lab.driver, fault)) is not None:
        needed, instead = NEEDS[missing]
        raise LabError(
            f"{fault} needs {needed}, which the {lab.driver.name} driver does not give; use {instead}."
        )
    role, _, others = role.partition("/")
    made = FAULTS[fault].plan(lab.topology, role, lab.resolve(role))
    if others:
        made = _between(lab, made, others)
    if all(lab.driver.state(target) == "stopped" for target in made.targets):
        raise LabError(f"{made.targets[0]} does not run, so there is nothing to break; start it first.")
    return made


def _between(lab: Lab, made: Plan, others: str) -> Plan:
    """Narrow a plan to some peers; `LabError` for a fault that has none, or a peer that is hit itself."""
    if not FAULTS[made.fault].between:
        able = ", ".join(name for name, kind in FAULTS.items() if kind.between)
        raise LabError(f"{made.fault} knows no peers; {able} do: `todo0/mysql`.")
    peers = tuple(dict.fromkeys(target.node for one in others.split(",") for target in lab.resolve(one)))
    if hit := [node for node in peers if node in made.nodes]:
        raise LabError(f"{hit[0]} cannot be cut off from itself; name other nodes after the slash.")
    return replace(made, peers=peers, label=f"{made.label}, from {' and '.join(peers)}")


def lacking(driver: Driver, fault: str) -> str | None:
    """Return the capability that a fault needs and a driver has not; `LabError` for no such fault."""
    if fault not in FAULTS:
        raise LabError(f"There is no fault {fault!r}; the faults are {', '.join(FAULTS)}.")
    needed = FAULTS[fault].needs
    return None if needed in driver.capabilities else needed


def describe(role: str, targets: list[Target]) -> str:
    """Name the victims for a reader: `vault0, the leader`, `todo0's agent`, `every node`."""
    if role == "all":
        return "everything"
    names = " and ".join(
        f"{target.node}'s agent" if target.program == "agent" and target.node != "consul" else target.node
        for target in targets
    )
    roles = {"vault.leader": "the leader", "vault.standby": "the standby"}
    return f"{names}, {roles[role]}" if role in roles else names


class _OnPrograms:
    """A fault that hits programs one by one; the common way of planning."""

    name: ClassVar[str]
    words: ClassVar[str]
    needs: ClassVar[str | None] = None
    between: ClassVar[bool] = False  # whether it lies between a node and others, all or some of them
    drawing: ClassVar[dict[str, str]] = {}  # of its bar in a figure, if not plain grey: `style.Drawing`
    programs: ClassVar[tuple[str, ...]] = ()  # which programs can suffer it; empty: any

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Plan for the resolved programs, refusing those that cannot suffer it."""
        for target in targets:
            if self.programs and target.program not in self.programs:
                able = " or ".join(self.programs)
                raise LabError(f"{self.name} needs {able}, and {target} is not one.")
        return Plan(self.name, role, tuple(targets), f"{describe(role, targets)}: {self.words}", self.drawing)

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Start what does not run and wake what is frozen, unsealing a Vault on the way."""
        for target in plan.targets:
            revive(lab, target)


def revive(lab: Lab, target: Target) -> None:
    """Make one program serve again: wake it, or start it with what it needs."""
    state = lab.driver.state(target)
    if state == "paused":
        lab.driver.signal(target, "CONT")
    elif state == "stopped" and target.program == "todo":
        from helpers.deploy import deliver

        deliver(lab, [target.node])
    elif state == "stopped":
        lab.driver.start([target])
    if target.program == "vault":
        vault_steps.unseal(lab, target.node, wait=False)


@register
class Stop(_OnPrograms):
    """An orderly end: TERM, so that a service can say goodbye."""

    name = "stop"
    words = "TERM"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send TERM and wait for the end."""
        lab.driver.stop(plan.targets)


@register
class Kill(_OnPrograms):
    """A crash: KILL; no goodbye, and the kernel closes its connections at once."""

    name = "kill"
    words = "kill -9"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send KILL to each."""
        for target in plan.targets:
            lab.driver.signal(target, "KILL")


@register
class Pause(_OnPrograms):
    """A freeze: STOP; connections stay open and nobody answers."""

    name = "pause"
    words = "paused"
    drawing: ClassVar[dict[str, str]] = {"hatch": "||"}

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Send STOP to each."""
        for target in plan.targets:
            lab.driver.signal(target, "STOP")


@register
class Restart(_OnPrograms):
    """Stop and start again, and nothing else: a Vault comes back sealed."""

    name = "restart"
    words = "restarted"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Stop all, then start all; a todo gets its new secret id, a Vault no key."""
        lab.driver.stop(plan.targets)
        for target in plan.targets:
            lab.start(str(target))


def _refuse_followers(lab: Lab, plan: Plan) -> None:
    """Raise `LabError` when a victim does not lead: only a leader steps down, or is sealed by the API."""
    for target in plan.targets:
        client = lab.vault(target.node, "")
        if vault_steps.role(client) != "active":
            raise LabError(
                f"{target.node} does not lead, and {plan.fault} is for the leader: inject it into "
                "vault.leader; `restart` leaves a standby sealed."
            )


@register
class StepDown(_OnPrograms):
    """The leader gives up its leadership and stays unsealed (`sys/step-down`)."""

    name = "step_down"
    words = "steps down"
    programs = ("vault",)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Ask each to step down. Raises `LabError` for one that does not lead: it would only nod."""
        _refuse_followers(lab, plan)
        for target in plan.targets:
            lab.vault(target.node).sys.step_down()


@register
class Seal(_OnPrograms):
    """The leader throws its key away (`sys/seal`) until somebody unseals it."""

    name = "seal"
    words = "sealed"
    programs = ("vault",)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Seal each. Raises `LabError` for one that does not lead: Vault refuses that, too."""
        _refuse_followers(lab, plan)
        for target in plan.targets:
            lab.vault(target.node).sys.seal()


class _OnNodes(_OnPrograms):
    """A fault of whole nodes: every program on them at once, the agent too."""

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Widen the target to all programs of its node."""
        nodes = list(dict.fromkeys(target.node for target in targets))
        everything = [Target(node, program) for node in nodes for program in topology[node].programs]
        label = describe(role, [Target(node, topology[node].programs[-1]) for node in nodes])
        return Plan(self.name, role, tuple(everything), f"{label}: {self.words}", self.drawing)


@register
class PowerOff(_OnNodes):
    """A node without power.

    On one machine the kernel still closes the connections, so peers see a refusal and not the silence
    of a real power cut; the `vagrant` driver, whose machines have a power of their own, shows that.
    """

    name = "power_off"
    words = "node off"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Cut the machine's power, or kill everything on the node, the service first."""
        if "power" in lab.driver.capabilities:
            for node in plan.nodes:
                lab.driver.power_off(node)
            return
        for target in reversed(plan.targets):
            lab.driver.signal(target, "KILL")


@register
class Suspend(_OnNodes):
    """A frozen node, as when its host moves it or takes a snapshot: connections stay open, nobody answers."""

    name = "suspend"
    words = "node frozen"
    drawing: ClassVar[dict[str, str]] = {"hatch": "||"}

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Suspend the machine, or send STOP to everything on the node."""
        if "power" in lab.driver.capabilities:
            for node in plan.nodes:
                lab.driver.suspend(node)
            return
        for target in plan.targets:
            lab.driver.signal(target, "STOP")

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Wake the machine, then whatever does not run on it."""
        for node in plan.nodes:
            lab.driver.mend(node)
        super().heal(lab, plan)


@register
class Leave(_OnPrograms):
    """A node's agent leaves the cluster in order: the node disappears from the catalog."""

    name = "leave"
    words = "leaves"

    def plan(self, topology: Topology, role: str, targets: list[Target]) -> Plan:
        """Aim at the agents of the targets' nodes."""
        agents = [Target(node, "agent") for node in dict.fromkeys(target.node for target in targets)]
        return Plan(self.name, role, tuple(agents), f"{describe(role, agents)}: {self.words}", self.drawing)

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Tell each agent to leave (`agent/leave`); its process ends by itself."""
        for target in plan.targets:
            address = lab.topology[target.node].address
            port = lab.topology.ports["consul_http"]
            url = f"http://{address}:{port}/v1/agent/leave"
            try:
                requests.put(url, timeout=20).raise_for_status()
            except requests.Timeout:
                raise LabError(
                    f"{target} does not answer, so it cannot leave; `lab heal` repairs it."
                ) from None
            except requests.ConnectionError:
                continue  # it ended before it answered
            except requests.HTTPError as error:
                raise LabError(f"{target} refused to leave: {error.response.text.strip()}.") from None


@register
class Maintenance(_OnPrograms):
    """A service taken out on purpose: critical in Consul, and running."""

    name = "maintenance"
    words = "in maintenance"
    programs = ("todo", "mariadb", "vault")

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Put the node's services into maintenance."""
        self._set(lab, plan, enable=True)

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Take them out of maintenance."""
        self._set(lab, plan, enable=False)

    @staticmethod
    def _set(lab: Lab, plan: Plan, *, enable: bool) -> None:
        for target in plan.targets:
            agent = lab.consul(target.node).agent
            for service in agent.services():
                agent.service.maintenance(service, "true" if enable else "false", reason="experiment")


def _peers(lab: Lab, plan: Plan, node: str) -> list[str]:
    """Return from whom a node is cut: those named, or everybody outside; of everything, everybody else."""
    if plan.peers:
        return list(plan.peers)
    inside = {node} if plan.role == "all" else set(plan.nodes)
    return [other for other in lab.topology.nodes if other not in inside]


class _OnNetwork(_OnPrograms):
    """A fault of a node's network; needs a driver whose nodes have one each."""

    needs: ClassVar[str | None] = "network"
    drawing: ClassVar[dict[str, str]] = {"hatch": "xx"}

    def heal(self, lab: Lab, plan: Plan) -> None:
        """Mend the nodes' networks."""
        for node in plan.nodes:
            lab.driver.mend(node)


@register
class Partition(_OnNetwork):
    """A node cut off from every other node, both ways, by dropping what passes; the host still reaches it."""

    name = "partition"
    words = "cut off"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop everything between each node and its peers."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node))


@register
class Deaf(_OnNetwork):
    """A partition in one direction: nothing that its peers send reaches the node, what it sends arrives.

    Questions arrive and are answered, and answers to its own questions are lost: a new TCP connection
    begins neither way, because the handshake needs both.
    """

    name = "deaf"
    words = "hears nothing"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop what each node is sent by its peers."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node), deaf=True)


@register
class Unplug(_OnNetwork):
    """A cable pulled: silence instead of refusals, for everybody."""

    name = "unplug"
    words = "unplugged"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Take each node's link down."""
        for node in plan.nodes:
            lab.driver.unplug(node)


@register
class Lossy(_OnNetwork):
    """A bad cable: of what passes between a node and its peers some is lost, packet by packet.

    TCP sends it again, after 0.2 s and longer each time, so that users see a slow service and few failures.
    """

    name = "lossy"
    words = "30 % of packets lost"
    between = True

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Drop 30 of 100 packets each way: half of all questions and answers need a second try."""
        for node in plan.nodes:
            lab.driver.cut(node, _peers(lab, plan, node), percent=30)


@register
class Slow(_OnNetwork):
    """A long way: each packet that the node sends is 100 ms late, as to another continent.

    A new connection costs that once more than a kept one: its first question waits for a handshake.
    """

    name = "slow"
    words = "100 ms late"
    needs: ClassVar[str | None] = "delay"

    def inject(self, lab: Lab, plan: Plan) -> None:
        """Delay what each node sends."""
        for node in plan.nodes:
            lab.driver.delay(node, 100)


def in_maintenance(lab: Lab) -> list[tuple[str, str]]:
    """Return what is in maintenance, whoever put it there: (node, service id), "" for the whole node.

    An agent that does not answer has nothing to tell.
    """
    found = []
    for node in lab.topology.regular():
        with contextlib.suppress(consul.ConsulException, requests.RequestException):
            for check in lab.consul(node.name).agent.checks():
                if check == "_node_maintenance" or check.startswith("_service_maintenance:"):
                    found.append((node.name, check.partition(":")[2]))
    return found


def clear_maintenance(lab: Lab) -> None:
    """Take every node and service out of maintenance."""
    for node, service in in_maintenance(lab):
        agent = lab.consul(node).agent
        with contextlib.suppress(consul.ConsulException, requests.RequestException):
            if service:
                agent.service.maintenance(service, "false")
            else:
                agent.maintenance("false")


def hold(lab: Lab, plan: Plan, seconds: float, say: Callable[[str], None]) -> None:
    """Inject, keep it for some seconds, and heal whatever happens in between."""
    kind = FAULTS[plan.fault]
    try:
        kind.inject(lab, plan)
        say(f"{plan.label}, for {seconds:g} s")
        time.sleep(seconds)
    finally:
        with contextlib.suppress(Exception):  # what it could not undo by itself, the lab's own heal repairs
            kind.heal(lab, plan)
        lab.heal()
