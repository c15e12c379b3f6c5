"""What the lab is made of: nodes, addresses, ports, intervals, versions.

Everything here is read from `lab/topology.yaml`; no address and no version stands
anywhere else. All of it is pure: nothing in this module touches the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from helpers.errors import LabError

REPOSITORY = Path(__file__).resolve().parent.parent
LAB_DATA = REPOSITORY / "lab"


@dataclass(frozen=True)
class Node:
    """A machine of the lab: one address, its own Consul agent, and what else runs on it."""

    name: str
    address: str
    programs: tuple[str, ...]
    server: bool = False
    spare: bool = False

    @property
    def service(self) -> str | None:
        """The Consul service this node offers (`vault`, `mysql`, `todo`), if any."""
        return self.name.rstrip("0123456789") if len(self.programs) > 1 else None


@dataclass(frozen=True)
class Target:
    """A program on a node: `todo0:agent`."""

    node: str
    program: str

    def __str__(self) -> str:
        return f"{self.node}:{self.program}"


@dataclass(frozen=True)
class Topology:
    """The lab as `lab/topology.yaml` describes it, on one network."""

    network: str
    nodes: dict[str, Node]
    raw: dict[str, Any]

    @property
    def ports(self) -> dict[str, int]:
        """Port numbers by name (`consul_http`, `vault`, `mysql`, `todo`, …)."""
        ports: dict[str, int] = self.raw["ports"]
        return ports

    def __getitem__(self, name: str) -> Node:
        """Return the node called `name`; `LabError` names the known ones otherwise."""
        if name not in self.nodes:
            known = ", ".join(self.nodes)
            raise LabError(f"There is no node {name!r}; the nodes are {known}.")
        return self.nodes[name]

    def regular(self) -> list[Node]:
        """Return the nodes that `lab up` starts: all but the spares."""
        return [node for node in self.nodes.values() if not node.spare]

    def of(self, service: str, spares: bool = False) -> list[Node]:
        """Return the nodes that offer a service, in order."""
        return [n for n in self.nodes.values() if n.service == service and (spares or not n.spare)]

    @property
    def server(self) -> Node:
        """The node that runs the Consul server."""
        return next(node for node in self.nodes.values() if node.server)

    def programs(self) -> Iterator[Target]:
        """Yield every program of every node, spares included."""
        for node in self.nodes.values():
            for program in node.programs:
                yield Target(node.name, program)

    def target(self, text: str) -> Target:
        """Parse `NODE` or `NODE:PROGRAM`; a node alone means the program that gives it its name.

        Raises `LabError` when the node is unknown or does not run that program.
        """
        name, colon, program = text.partition(":")
        node = self[name]
        if not colon:
            return Target(name, node.programs[-1])
        if program not in node.programs:
            raise LabError(f"{name} does not run {program!r}; it runs {' and '.join(node.programs)}.")
        return Target(name, program)

    def listening(self, target: Target) -> list[tuple[str, int]]:
        """Return the TCP (address, port) pairs that a program listens on."""
        names = {
            "agent": ["consul_http", "consul_dns", "consul_serf"],
            "vault": ["vault", "vault_cluster"],
            "mariadb": ["mysql"],
            "todo": ["todo"],
        }[target.program]
        node = self[target.node]
        if node.server:
            names = [*names, "consul_rpc"]
        return [(node.address, self.ports[name]) for name in names]


@cache
def description() -> dict[str, Any]:
    """Return `lab/topology.yaml` as a dictionary."""
    loaded: dict[str, Any] = yaml.safe_load((LAB_DATA / "topology.yaml").read_text())
    return loaded


def load(driver: str = "local", network: str | None = None) -> Topology:
    """Return the topology for a driver, or on an explicit network such as `127.20.21`."""
    raw = description()
    network = network or raw["networks"][driver]
    nodes = {
        name: Node(
            name=name,
            address=f"{network}.{entry['octet']}",
            programs=tuple(entry["programs"]),
            server=entry.get("server", False),
            spare=entry.get("spare", False),
        )
        for name, entry in raw["nodes"].items()
    }
    return Topology(network=network, nodes=nodes, raw=raw)
