"""The first rung: machines with their agents, a database server, and two Vaults that know nothing yet."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.errors import LabError
from helpers.home import write_private
from helpers.programs import find
from helpers.render import render
from helpers.topology import Node, Target
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

# What mariadb-install-db feeds to a bootstrapping server, in its order; the script itself needs a
# program of another package (my_print_defaults) and takes five times as long.
_SYSTEM_TABLES = (
    "mysql_system_tables.sql",
    "mysql_performance_tables.sql",
    "mysql_system_tables_data.sql",
)


#: Seconds in which agents join. A new one needs one or two; one whose cable is back is asked by nobody and
#: may need 36.7 (`helpers.clocks.serf_reunited`).
REUNION = 45.0


def start(lab: Lab) -> None:
    """Bring up the agents, the database and the Vault processes, side by side where they allow it.

    Idempotent: what runs is left alone, what is paused is woken. Raises `LabError` when something
    does not come up in time.
    """
    with lab.step("configuration written, supervisor running"):
        write_configuration(lab)
        with ThreadPoolExecutor() as pool:
            database = pool.submit(_initialize_database, lab)
            lab.driver.up(lab.say)
            for node in lab.topology.nodes:
                lab.driver.mend(node)  # a machine keeps what cut it off when only the supervisor was gone
            _start_agents(lab)
            database.result()
    with ThreadPoolExecutor() as pool:
        mysql = pool.submit(_start_database, lab)
        vaults = pool.submit(_start_vaults, lab)
        vaults.result()
        mysql.result()


def prepare(lab: Lab) -> None:
    """Write what the programs read and make the database's own tables; nothing is started."""
    write_configuration(lab)
    _initialize_database(lab)


def _start_agents(lab: Lab) -> None:
    """Start the server first: an agent that finds nobody to join tries again only a second later."""
    server = lab.topology.server
    lab.driver.start([Target(server.name, "agent")])
    place = (server.address, lab.topology.ports["consul_serf"])
    until(
        lambda: _accepts(place),
        f"The start of the Consul server on {server.name}",
        every=0.02,
    )
    nodes = [node for node in lab.topology.regular() if not node.server]
    lab.driver.start(Target(node.name, "agent") for node in nodes)


def _accepts(place: tuple[str, int]) -> bool:
    with socket.create_connection(place, timeout=1):
        return True


def write_configuration(lab: Lab) -> None:
    """Render every program's configuration for every node, spares included."""
    for node in lab.topology.nodes.values():
        for program in node.programs:
            folder = lab.home.node_folder(node.name, program)
            match program:
                case "agent":
                    text = render("consul/agent.hcl.j2", lab.topology, node, folder=folder)
                    write_private(folder / "agent.hcl", text)
                case "vault":
                    text = render("vault/vault.hcl.j2", lab.topology, node, folder=folder)
                    write_private(folder / "vault.hcl", text)
                case "mariadb":
                    _configure_database(lab, node, folder)


def _configure_database(lab: Lab, node: Node, folder: Path) -> None:
    program = find("mariadb")
    password = lab.home.secret("vaultadmin")
    if password is None:
        password = secrets.token_urlsafe(24)
        lab.home.keep_secret("vaultadmin", password)
    init_file = folder / "init.sql"
    write_private(init_file, render("mariadb/init.sql.j2", lab.topology, password=password))
    write_private(
        folder / "server.cnf",
        render(
            "mariadb/server.cnf.j2",
            lab.topology,
            node,
            folder=folder,
            socket=lab.home.runtime / "mysql.sock",
            init_file=init_file,
            kind=program.flavour,
            share=_share(program.path),
            as_root=os.geteuid() == 0 or lab.driver.as_root,  # the server refuses root unless told
        ),
    )


def _share(server: Path) -> Path:
    """Return the folder of the server's SQL and messages, which lies beside its programs."""
    for prefix in (server.resolve().parent.parent, Path("/usr")):
        for name in ("mysql", "mariadb"):
            if (prefix / "share" / name / _SYSTEM_TABLES[0]).exists():
                return prefix / "share" / name
    return server.resolve().parent.parent / "share"


def _initialize_database(lab: Lab) -> None:
    """Create the server's own tables, once. A half-made data folder is never taken for a whole one."""
    for node in lab.topology.of("mysql"):
        folder = lab.home.node_folder(node.name, "mariadb")
        if (folder / "data").exists():
            continue
        unfinished = folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        program = find("mariadb")
        command = [str(program.path), "--no-defaults", f"--datadir={unfinished}"]
        if os.geteuid() == 0:
            command.append("--user=root")
        if program.flavour == "mariadb":
            share = _share(program.path)
            command += ["--bootstrap", "--skip-networking", "--innodb-log-file-size=8M"]
            command += [f"--lc-messages-dir={share}"]
            tables = "\n".join((share / name).read_text() for name in _SYSTEM_TABLES)
            # Root without a password is reachable by the socket alone, in a folder of mode 0700.
            sql = (
                f"CREATE DATABASE mysql;\nUSE mysql;\n{tables}\n"
                "DELETE FROM global_priv WHERE User IN ('root', '') AND Host <> 'localhost';\n"
                "DELETE FROM global_priv WHERE User = '';\n"
            )
        else:
            command.append("--initialize-insecure")
            sql = ""
        done = subprocess.run(command, input=sql, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            log = lab.home.log(node.name, "mariadb")
            log.write_text(done.stdout + done.stderr)
            raise LabError(f"The database server could not make its own tables; see {log}.")
        unfinished.rename(folder / "data")


def _start_vaults(lab: Lab) -> None:
    with lab.step(f"{len(lab.topology.regular())} Consul agents joined, one server leads"):
        server = lab.consul(lab.topology.server.name)
        until(server.status.leader, "The election of a Consul leader", every=0.02)
        names = {node.name for node in lab.topology.regular()}
        until(
            lambda: names <= {m["Name"] for m in server.agent.members() if m["Status"] == 1},
            f"The joining of {len(names)} Consul agents",
            at_most=REUNION,
        )
        # An agent that has joined may still not know its server: ask each the way a client will.
        for node in lab.topology.regular():
            leader = lab.consul(node.name).status.leader
            until(leader, f"A leader known to the agent of {node.name}", at_most=REUNION)
    with lab.step("Vault processes answer"):
        vaults = lab.topology.of("vault")
        lab.driver.start(Target(node.name, "vault") for node in vaults)
        for node in vaults:
            client = lab.vault(node.name, token="")
            until(client.sys.read_seal_status, f"An answer of the Vault on {node.name}")


def _start_database(lab: Lab) -> None:
    with lab.step("database server accepts connections, registered in Consul"):
        for node in lab.topology.of("mysql"):
            lab.driver.start([Target(node.name, "mariadb")])
            until(
                lambda: lab.mysql_as("vaultadmin"),
                f"A log-in to the database server on {node.name}",
            ).close()
            register_database(lab, node)


def register_database(lab: Lab, node: Node) -> None:
    """Register `mysql` at its node's agent with a TCP check.

    It enters as passing, since a log-in has just succeeded; Consul would otherwise call it critical
    until the first check, up to an interval later. The same holds for an agent that was started again.
    """
    check = lab.topology.raw["check"]
    port = lab.topology.ports["mysql"]
    agent = lab.consul(node.name).agent
    until(lambda: agent.self(), f"An answer of the Consul agent on {node.name}")
    if any(c["ServiceID"] == "mysql" and c["Status"] == "passing" for c in agent.checks().values()):
        return
    agent.service.register(
        "mysql",
        service_id="mysql",
        address=node.address,
        port=port,
        check={
            "TCP": f"{node.address}:{port}",
            "Interval": f"{check['interval']}s",
            "Timeout": f"{check['timeout']}s",
            "Status": "passing",
        },
    )
