"""The health-check script: what every Vault and every todo is, according to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import consul
import requests

from helpers.clients import ConsulClient

if TYPE_CHECKING:
    import pandas

    from helpers.lab import Lab
    from helpers.topology import Node

PROBE_TIMEOUT = 2.0  # seconds: twice a check's own time-out, so that a frozen node does not stall the table
PROBE_TEXT = "status probe"


@dataclass(frozen=True)
class VaultRow:
    """One Vault: what it says of itself, what Consul says of it, whether it leads."""

    node: str
    address: str
    sealed: str
    health: str
    leader: str


@dataclass(frozen=True)
class TodoRow:
    """One todo: what Consul says of it, and whether a todo written could be read back and deleted."""

    node: str
    address: str
    health: str
    test: str


@dataclass(frozen=True)
class Status:
    """Both tables; `.vault` and `.todo` give them as DataFrames."""

    vaults: list[VaultRow]
    todos: list[TodoRow]

    @cached_property
    def vault(self) -> pandas.DataFrame:
        """The vault table."""
        return _frame(self.vaults, VaultRow)

    @cached_property
    def todo(self) -> pandas.DataFrame:
        """The todo table."""
        return _frame(self.todos, TodoRow)

    def summary(self) -> list[tuple[str, bool]]:
        """Return one sentence per service and whether it functions: one healthy instance is enough."""
        leaders = [row for row in self.vaults if row.leader]
        working = [row for row in self.todos if row.test == "OK"]
        return [
            (
                f"vault functions: {leaders[0].node} leads."
                if leaders
                else "vault does not function: nobody leads.",
                bool(leaders),
            ),
            (
                f"todo functions: {len(working)} of {len(self.todos)} instances."
                if working
                else "todo does not function: no healthy instance is left.",
                bool(working),
            ),
        ]

    @property
    def ok(self) -> bool:
        """Whether both services function."""
        return all(good for _, good in self.summary())

    def as_dict(self) -> dict[str, Any]:
        """Return both tables and the verdict as plain data."""
        return {
            "vault": [asdict(row) for row in self.vaults],
            "todo": [asdict(row) for row in self.todos],
            "ok": self.ok,
        }


def _frame(rows: list[Any], kind: type[Any]) -> pandas.DataFrame:
    import pandas

    columns = [field.name for field in fields(kind)]
    return pandas.DataFrame([asdict(row) for row in rows], columns=columns).set_index("node")


def status(lab: Lab) -> Status:
    """Ask everybody at once; who does not answer is said to be so, and nothing is raised."""
    vaults = lab.topology.of("vault")
    todos = [n for n in lab.topology.of("todo", spares=True) if not n.spare or _deployed(lab, n)]
    with ThreadPoolExecutor(len(vaults) + len(todos) + 1) as pool:
        health = pool.submit(_health, lab)
        vault_rows = [pool.submit(_vault_row, lab, node, health.result()) for node in vaults]
        todo_rows = [pool.submit(_todo_row, lab, node, health.result()) for node in todos]
        return Status([row.result() for row in vault_rows], [row.result() for row in todo_rows])


def _deployed(lab: Lab, node: Node) -> bool:
    programs = [target for target in lab.topology.programs() if target.node == node.name]
    return lab.driver.alive and any(lab.driver.state(target) != "stopped" for target in programs)


def _health(lab: Lab) -> dict[tuple[str, str], str]:
    """Return Consul's word for each (node, service): passing, warning, critical; empty without Consul."""
    address, port = lab.topology.server.address, lab.topology.ports["consul_http"]
    client = ConsulClient(address, port, timeout=(PROBE_TIMEOUT, PROBE_TIMEOUT))
    found = {}
    for service in ("vault", "todo"):
        try:
            _, entries = client.health.service(service)
        except (consul.ConsulException, requests.RequestException):
            return {}
        for entry in entries:
            words = [check["Status"] for check in entry["Checks"]]
            worst = max(words, key=["passing", "warning", "critical"].index, default="passing")
            found[entry["Node"]["Node"], service] = worst
    return found


def _vault_row(lab: Lab, node: Node, health: dict[tuple[str, str], str]) -> VaultRow:
    address = lab.address_of_vault(node.name)
    try:
        answer = requests.get(f"{address}/v1/sys/health", timeout=PROBE_TIMEOUT)
        sealed = {501: "not initialized", 503: "sealed"}.get(answer.status_code, "unsealed")
        leader = "leader" if answer.status_code == requests.codes.ok else ""
    except requests.Timeout:
        sealed, leader = "no answer", ""
    except requests.RequestException:
        sealed, leader = "not running", ""
    return VaultRow(node.name, address, sealed, _word(health, node, "vault"), leader)


def _todo_row(lab: Lab, node: Node, health: dict[tuple[str, str], str]) -> TodoRow:
    address = f"http://{node.address}:{lab.topology.ports['todo']}"
    word = _word(health, node, "todo")
    # As in the original: only an instance that Consul would send somebody to is tested.
    test = ("OK" if probe(address) else "FAIL") if word == "passing" else "-"
    return TodoRow(node.name, address, word, test)


def _word(health: dict[tuple[str, str], str], node: Node, service: str) -> str:
    if not health:
        return "unknown"
    return health.get((node.name, service), "not registered")


def probe(address: str) -> bool:
    """Write a todo, read it back, delete it; return whether all three did what they say."""
    wanted = {"status": "new", "content": PROBE_TEXT}
    try:
        made = requests.post(f"{address}/todo", json=wanted, timeout=PROBE_TIMEOUT)
        if made.status_code != requests.codes.created:
            return False
        one = f"{address}/todo/{made.json()['id']}"
        read = requests.get(one, timeout=PROBE_TIMEOUT).json()
        gone = requests.delete(one, timeout=PROBE_TIMEOUT)
    except (requests.RequestException, ValueError, KeyError):
        return False
    return read.get("content") == PROBE_TEXT and gone.status_code == 204
