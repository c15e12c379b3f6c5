"""What a fault is; how one is planned, purely, against the cluster as it is now, and held for a while."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol

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
