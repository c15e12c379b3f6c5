"""It always comes back: from a dead supervisor, a taken port, an interrupt, a frozen or sealed part."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from lab_command import Other, Result, begin, finish, sentence, states, tree

from helpers import networks, standby
from helpers.deploy import passing_instances
from helpers.drivers import strays
from helpers.lab import Lab
from helpers.states import STATES
from helpers.topology import Target
from helpers.waiting import until

Command = Callable[..., Result]
# What `lab down` may take: todo drains for a second, Vault gives its lock back; then psutil's bounded waits.
END_WITHIN = 20.0


def end_at_once(pid: int) -> None:
    """Kill a process and wait until the kernel has let it go (its zombie is init's to reap)."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", "Its end", 5)


# ---- the supervisor's death -------------------------------------------------------------------


def test_strays_of_a_killed_supervisor_are_found_and_ended(other: Other) -> None:
    assert other.run("up", "unsealed").code == 0
    before = other.processes()
    supervisor = next(p.pid for p in before if "supervisord" in " ".join(psutil.Process(p.pid).cmdline()))
    end_at_once(supervisor)
    left = {p.pid for p in other.processes()}
    assert len(left) == 9, "six agents, two Vaults and a database server are left without a supervisor"

    assert sentence(other.run("status")).startswith("No lab is running"), "a command that looks says so"
    again = other.run("up", "unsealed")
    assert again.code == 0, again.err
    assert "processes of a lab whose supervisor is gone" in again.out
    assert f"found {len(left)} processes" in again.out
    assert not left & {p.pid for p in other.processes()}
    assert other.run("status", "--json").code == 1, "unsealed is not deployed"


def test_down_ends_strays_too(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    assert other.run("up", "nodes").code == 0
    supervisor = other.open(monkeypatch).driver.supervisor  # type: ignore[attr-defined]
    end_at_once(supervisor)
    assert other.processes()
    ended = other.run("down", "--purge")
    assert ended.code == 0, ended.err
    assert "whose supervisor is gone" in ended.out
    assert not other.processes()
    assert not other.home.path.exists()


def test_strays_are_told_from_other_peoples_processes(lab: Lab) -> None:
    """The lab of this run is nobody's stray, and nothing of it belongs to a lab with another folder."""
    assert lab.driver.strays() == []  # type: ignore[attr-defined]
    assert strays.find(lab.home.path.parent / "another", None) == []
    mine = {process.pid for process in tree(lab)}
    assert {stray.pid for stray in strays.find(lab.home.path)} <= mine


# ---- ports and networks -----------------------------------------------------------------------


def test_a_taken_port_names_its_process(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    topology = other.open(monkeypatch).topology
    address, port = topology["vault1"].address, topology.ports["vault"]
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind((address, port))
        squatter.listen()
        said = sentence(other.run("up"))
        assert f"Port {port} of {address} is taken by" in said
        assert f"(process {os.getpid()})" in said
        assert not other.processes(), "a refused start left processes"
    assert other.run("up", "nodes").code == 0, "the port is free again"


def test_a_port_taken_while_a_program_was_down(lab: Lab, command: Command) -> None:
    assert command("stop", "todo0").code == 0
    where = (lab.topology["todo0"].address, lab.topology.ports["todo"])
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        until(lambda: squatter.bind(where) is None, "The port's being free", 5)
        squatter.listen()
        said = sentence(command("start", "todo0"))
        assert f"port {where[1]} of {where[0]} is taken by" in said
        assert str(os.getpid()) in said
    assert command("start", "todo0").code == 0


def test_two_labs_side_by_side(lab: Lab, command: Command, tmp_path: Path) -> None:
    """The second takes another network by itself, and its end leaves the first alone."""
    home = tmp_path / "second"
    before = {target: lab.driver.pid(target) for target in lab.topology.programs()}
    try:
        assert finish(begin("up", "unsealed", home=home)).code == 0
        claimed = {networks.holder(path.name): path.name for path in networks.claims_folder().iterdir()}
        assert claimed[home] != lab.topology.network
        assert finish(begin("status", home=home)).out.count(f"http://{claimed[home]}.") == 4
    finally:
        assert finish(begin("down", "--purge", home=home)).code == 0
    assert home not in {networks.holder(path.name) for path in networks.claims_folder().iterdir()}
    assert {target: lab.driver.pid(target) for target in lab.topology.programs()} == before
    assert command("status").code == 0


# ---- the end ----------------------------------------------------------------------------------


def test_down_leaves_no_process_and_purge_no_file(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    assert other.run("up").code == 0
    lab = other.open(monkeypatch)
    runtime, everybody = lab.home.runtime, tree(lab)
    assert len(everybody) == 12, "a supervisor, six agents, two Vaults, a database server, two todos"
    lab.driver.signal(Target("todo0", "agent"), "STOP")
    lab.driver.signal(Target("vault1", "vault"), "STOP")

    begun = time.monotonic()
    assert other.run("down").code == 0
    assert time.monotonic() - begun < END_WITHIN
    assert not other.processes()
    assert not [p for p in everybody if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert (other.home.path / "secrets").is_dir(), "data stays without --purge"
    assert sentence(other.run("status")).startswith("No lab is running")

    kept = {path.name: path.read_text() for path in (other.home.path / "secrets").iterdir()}
    again = other.run("up")
    assert again.code == 0, again.err
    same = {path.name: path.read_text() for path in (other.home.path / "secrets").iterdir()}
    assert same == kept, "the cluster was started again, not made anew"

    assert other.run("down", "--purge").code == 0
    assert not other.processes()
    assert not other.home.path.exists()
    assert not runtime.exists()


# ---- interrupts -------------------------------------------------------------------------------


def read_lines(process: subprocess.Popen[str], count: int) -> None:
    """Wait until a command has said so many lines; its time-out is that of `finish`."""
    assert process.stdout is not None
    for _ in range(count):
        assert process.stdout.readline(), "it ended before"


@pytest.mark.parametrize("steps", [2, 8])
def test_ctrl_c_in_the_middle_of_up(other: Other, steps: int) -> None:
    """Wherever it hits, the next command goes on from there."""
    process = other.begin("up")
    read_lines(process, steps)
    os.killpg(process.pid, signal.SIGINT)
    interrupted = finish(process, at_most=30)
    assert sentence(interrupted) == "Interrupted; `lab heal` repairs what was left half done."
    again = other.run("heal")
    assert again.code == 0, again.err
    assert other.run("status").code == 0


def test_kill_9_in_the_middle_of_up(other: Other) -> None:
    process = other.begin("up")
    read_lines(process, 3)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    again = other.run("up")
    assert again.code == 0, again.err


def test_one_command_at_a_time(other: Other) -> None:
    """Two `lab up` at once: one works, the other one says who does."""
    first = other.begin("up", "nodes")
    second = other.begin("up", "nodes")
    results = [finish(first), finish(second)]
    codes = sorted(result.code for result in results)
    assert codes in ([0, 0], [0, 1])
    for result in results:
        if result.code:
            assert "is being changed by" in sentence(result)
    assert other.run("up", "nodes").code == 0


# ---- every state from every other -------------------------------------------------------------


# All thirty ways from one state to another take three minutes; these eight pass every rung upwards, every
# kind of descent (todo stopped, cluster made anew), and a cluster found stopped above the wanted state.
WALK = ["initialized", "nodes", "unsealed", "configured", "deployed", "configured", "down", "unsealed"]


def test_every_state_from_above_and_below(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    lab = other.open(monkeypatch, said)
    assert lab.state == "down"
    for state in WALK:
        lab.reach(state)
        assert lab.state == state, "\n".join(said)
        lab.reach(state)
        assert lab.state == state, "reached twice"
    assert set(WALK) == set(STATES)
    assert all(line.strip() for line in said)


# ---- one part broken --------------------------------------------------------------------------


def test_a_restarted_vault_is_sealed_until_heal(lab: Lab, command: Command) -> None:
    standby = lab.resolve("vault.standby")[0].node
    assert command("stop", standby).code == 0
    assert command("start", standby).code == 0
    until(lambda: lab.vault(standby, "").sys.is_sealed(), f"An answer of {standby}", 10)
    table = command("status").out
    assert "sealed" in next(line for line in table.splitlines() if standby in line).split()
    assert command("status").code == 0, "the leader still leads"
    healed = command("heal")
    assert healed.code == 0, healed.err
    assert not lab.vault(standby, "").sys.is_sealed()
    assert lab.state == "deployed"


def test_paused_programs_are_woken(lab: Lab, command: Command) -> None:
    paused = [Target("todo0", "todo"), Target("todo1", "agent"), Target("mysql", "mariadb")]
    for target in paused:
        assert command("pause", str(target)).code == 0
    assert {target for target, state in states(lab).items() if state == "paused"} == set(paused)
    pids = {target: lab.driver.pid(target) for target in paused[1:]}
    healed = command("heal")
    assert healed.code == 0, healed.err
    assert set(states(lab).values()) == {"running"}
    assert {target: lab.driver.pid(target) for target in paused[1:]} == pids, "woken, not replaced"
    assert lab.state == "deployed"


@pytest.mark.parametrize(
    "target", ["consul:agent", "vault0:agent", "mysql:agent", "todo0:agent", "mysql:mariadb", "todo1:todo"]
)
def test_a_killed_program_is_started_again(lab: Lab, target: str) -> None:
    lab.kill(target)
    assert lab.driver.state(lab.topology.target(target)) == "stopped"
    lab.heal()
    assert lab.state == "deployed"
    assert lab.status().ok


def test_a_heal_waits_until_consul_names_the_database_again(lab: Lab) -> None:
    lab.kill("mysql")
    until(lambda: not passing_instances(lab, service="mysql"), "Consul's word on the database", 8)
    lab.heal()
    assert passing_instances(lab, service="mysql") == {"mysql"}


def test_everything_but_vaults_lock_lost_at_once(lab: Lab, command: Command) -> None:
    """Power off and on: the data are there, both Vaults are sealed, todo needs new secret ids.

    The Vaults end in order, which gives their lock back: a lock that is lost with its owner takes another
    45 s, and notebook 06 measures it.
    """
    for node in (lab.resolve("vault.standby")[0].node, lab.resolve("vault.leader")[0].node):
        assert command("stop", node).code == 0
    for target, state in states(lab).items():
        if state == "running":
            lab.driver.signal(target, "KILL")
    assert set(states(lab).values()) == {"stopped"}
    healed = command("heal")
    assert healed.code == 0, healed.err
    assert lab.state == "deployed"


def test_a_lease_that_somebody_left_changed_is_put_back(lab: Lab) -> None:
    database = lab.topology.raw["database"]
    vault = lab.active_vault()
    path = f"{database['mount']}/roles/{database['role']}"
    vault.write_data(path, data={**vault.read(path)["data"], "default_ttl": 6})
    assert lab.state != "deployed"
    lab.reach("deployed")
    assert vault.read(path)["data"]["default_ttl"] == database["lease"]


def test_a_standby_whose_session_died_is_started_again(lab: Lab) -> None:
    """It would find that out only when it is to take over, and pause for 10 s then."""
    name = lab.resolve("vault.standby")[0].node
    before = lab.driver.pid(Target(name, "vault"))
    assert standby.make_ready(lab) == []
    session = lab.consul().session
    for each in session.node(name)[1]:
        session.destroy(each["ID"])
    assert standby.make_ready(lab) == [name]
    assert lab.driver.pid(Target(name, "vault")) != before
    until(lambda: standby.make_ready(lab) == [], "A session of the one that was started", 15)
