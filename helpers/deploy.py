"""The fourth helper script: deliver todo's instances, each with a secret of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import requests

from helpers.errors import LabError
from helpers.home import write_private
from helpers.render import render
from helpers.topology import REPOSITORY, Node, Target
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

WRAP_TTL = "120s"  # an instance unwraps within a second; a token stolen later is worthless


def migrate(lab: Lab) -> None:
    """Bring the schema up to date by todo's one-off admin process, with a credential of its own.

    Raises `LabError` with the process's last line when it fails.
    """
    node = lab.topology.of("todo")[0]
    environment = _environment(lab, node, "todo-migrate", {})
    file = lab.home.node_folder(node.name, "todo") / "migrate.env"
    write_private(file, environment)
    variables = dict(word.split("=", 1) for word in shlex.split(environment))
    done = subprocess.run(
        [sys.executable, "-m", "todo", "migrate"],
        env={**os.environ, **variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    log = lab.home.folder("logs") / "todo-migrate.log"
    write_private(log, done.stdout + done.stderr)
    if done.returncode:
        last = ((done.stdout + done.stderr).strip().splitlines() or ["it said nothing"])[-1]
        raise LabError(f"The migration failed: {last} (log: {log})")


def deliver(lab: Lab, names: list[str], extra: dict[str, str] | None = None) -> None:
    """Deploy instances side by side: a new wrapped secret id each, then the process.

    `extra` adds to an instance's environment. Returns when every instance is passing in Consul;
    raises `LabError` otherwise.
    """
    nodes = [lab.topology[name] for name in names]
    for node in nodes:
        if node.service != "todo":
            known = ", ".join(n.name for n in lab.topology.of("todo", spares=True))
            raise LabError(f"{node.name} runs no todo; deploy to {known}.")
    with ThreadPoolExecutor(max(1, len(nodes))) as pool:
        for done in [pool.submit(_deliver_one, lab, node, extra or {}) for node in nodes]:
            done.result()


def _deliver_one(lab: Lab, node: Node, extra: dict[str, str]) -> None:
    target = Target(node.name, "todo")
    lab.driver.start([Target(node.name, "agent")])
    until(lab.consul(node.name).status.leader, f"A leader known to the agent of {node.name}")
    lab.driver.stop([target])
    folder = lab.home.node_folder(node.name, "todo")
    write_private(folder / "todo.env", _environment(lab, node, "todo", extra))
    lab.driver.start([target])
    wait_for(lab, node)


def wait_for(lab: Lab, node: Node, at_most: float = 30.0) -> None:
    """Wait until an instance serves and Consul says so; `LabError` with its last log line otherwise."""
    target = Target(node.name, "todo")

    def passing() -> bool:
        if lab.driver.state(target) == "stopped":
            last = (lab.logs(str(target), lines=1) or ["it said nothing"])[-1]
            raise LabError(f"{node.name} ended while it was starting: {last}")
        return serves(lab, node) and node.name in passing_instances(lab)

    until(passing, f"A healthy todo on {node.name}", at_most=at_most)


def serves(lab: Lab, node: Node) -> bool:
    """Say whether an instance calls itself healthy."""
    try:
        url = f"http://{node.address}:{lab.topology.ports['todo']}/health"
        return requests.get(url, timeout=2).status_code == requests.codes.ok
    except requests.RequestException:
        return False


def passing_instances(lab: Lab, asked: str | None = None, service: str = "todo") -> set[str]:
    """Return the nodes whose service is passing, by name, as a node's agent says (default: the server)."""
    _, entries = lab.consul(asked or lab.topology.server.name).health.service(service, passing=True)
    return {entry["Node"]["Node"] for entry in entries}


def _environment(lab: Lab, node: Node, role: str, extra: dict[str, str]) -> str:
    """Return an instance's environment; its secret id travels apart, wrapped, in a file of its own."""
    vault = lab.active_vault()
    approle = vault.auth.approle
    role_id = approle.read_role_id(role)["data"]["role_id"]
    wrapped = approle.generate_secret_id(role, metadata={"instance": node.name}, wrap_ttl=WRAP_TTL)[
        "wrap_info"
    ]["token"]
    secret_file = lab.home.node_folder(node.name, "todo") / f"{role}.secret"
    write_private(secret_file, wrapped)
    database_role = lab.topology.raw["database"]["role"]
    return render(
        "todo/todo.env.j2",
        lab.topology,
        node,
        role_id=role_id,
        secret_id_file=secret_file,
        database_role=database_role if role == "todo" else f"{database_role}-migrate",
        extra=extra,
    )
