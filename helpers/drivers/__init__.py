"""Drivers: what runs the nodes. A driver starts, stops and signals programs.

It knows nothing about Vault or todo: the ladder of states (helpers/states.py) does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from helpers.topology import Target, Topology

Say = Callable[[str], None]
Signal = Literal["KILL", "STOP", "CONT", "TERM", "HUP"]


@dataclass(frozen=True)
class Process:
    """A running program as the operating system of its node knows it."""

    pid: int  # on its node
    command: list[str]
    environment: dict[str, str]
    listening: list[int]  # TCP ports


class Driver(Protocol):
    """The verbs that every kind of lab understands."""

    name: str
    topology: Topology
    #: What it can do beyond processes: `network` and `power` when each node has one of its own, and
    #: `delay` when the kernel can hold packets back.
    capabilities: frozenset[str]

    @property
    def as_root(self) -> bool:
        """Whether the nodes' programs run as root, whoever runs the lab."""

    @property
    def sees_processes(self) -> bool:
        """Whether the nodes' processes are processes of this machine, so that the recorder can watch them."""

    @property
    def alive(self) -> bool:
        """Whether the nodes' own supervisor answers: a lab is there."""

    def up(self, say: Say) -> None:
        """Make the machines ready to run programs; idempotent."""

    def down(self, say: Say) -> None:
        """End every program and the machines themselves; leave nothing running."""

    def clear(self, say: Say) -> None:
        """End every program whose data is about to be forgotten; machines that can stay do."""

    def start(self, targets: Iterable[Target]) -> None:
        """Start programs that do not run; wake those that are paused. Does not wait for readiness."""

    def stop(self, targets: Iterable[Target]) -> None:
        """Ask programs to end in order (TERM) and wait until they have."""

    def signal(self, target: Target, signal: Signal) -> None:
        """Send a signal to one program; nothing happens when it does not run."""

    def pid(self, target: Target) -> int | None:
        """Return the process id on this machine, or None when it does not run."""

    def process(self, target: Target) -> Process:
        """Return what the operating system of its node knows of a running program.

        Raises `LabError` when it does not run.
        """

    def state(self, target: Target) -> str:
        """Return `running`, `paused` or `stopped`."""

    def power_off(self, node: str) -> None:
        """Take a machine's power away; `start` gives it back (capability `power`)."""

    def suspend(self, node: str) -> None:
        """Freeze a machine with all that runs on it; `mend` and `start` wake it (capability `power`)."""

    def cut(self, node: str, peers: list[str], percent: int = 100, deaf: bool = False) -> None:
        """Drop what passes between a node and its peers, or `percent` of it (capability `network`).

        `deaf` drops only what arrives.
        """

    def unplug(self, node: str) -> None:
        """Take a node's link down (capability `network`)."""

    def delay(self, node: str, milliseconds: int) -> None:
        """Hold back each packet that a node sends (capability `delay`)."""

    def mend(self, node: str) -> None:
        """Undo `cut`, `unplug`, `delay` and `suspend`; nothing happens when there is nothing to undo."""
