"""What only separate networks can show: a node cut off, a cable pulled, no acknowledged write lost; and the
same notebooks as everywhere."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from helpers import Lab, LabError, faults
from helpers.drivers.netns import NetnsDriver
from helpers.faults import FAULTS
from helpers.waiting import until
from helpers.writers import PATIENCE, Writers
from tests import unchanged


# The other faults of todo and Vault are in the notebooks 05 and 06, which are tested below with their bounds.
@pytest.mark.parametrize(
    ("fault", "target", "seconds"),
    [
        ("partition", "todo1", 14),
        ("kill", "mysql", 7),
        ("maintenance", "todo0", 3),
        ("leave", "todo1:agent", 7),
        ("suspend", "todo0", 14),
        ("unplug", "vault.leader", 30),
        ("unplug", "consul", 20),
    ],
)
def test_a_fault_stays_in_its_bounds(lab: Lab, fault: str, target: str, seconds: float) -> None:
    unchanged.experiment(lab, fault, target, seconds)


@pytest.mark.parametrize("attempt", range(3))
def test_no_acknowledged_write_is_lost_when_the_leader_is_cut_off(lab: Lab, attempt: int) -> None:
    old = lab.resolve("vault.leader")[0].node
    peers = [node for node in lab.topology.nodes if node != old]
    with Writers(lab) as writers:
        until(lambda: all(each.acknowledged for each in writers.each), "A first write by each", 10)
        lab.driver.cut(old, peers)
        try:
            other = next(each for each in writers.each if each.node != old)
            before = len(other.acknowledged)
            # 26.9 s is the longest that serf, the lock-delay and the takeover allow (helpers/bounds.py).
            until(lambda: len(other.acknowledged) >= before + 20, "Twenty writes by the new leader", 45)
        finally:
            lab.driver.mend(old)
        until(lambda: lab.vault(old, "").sys.read_health_status(method="GET") is not None, "An answer", 30)
        time.sleep(PATIENCE)  # the old leader's last requests end
    lab.reach("deployed", quiet=True)
    demanded = writers.demand()
    assert [each["lost"] for each in demanded] == [0, 0]
    # Gossip's 5 s and the lock-delay of 15 s pass before anybody leads whose storage answers.
    assert all(each["silent until"] - each["silent from"] >= 19.8 for each in demanded), demanded


def test_what_the_system_knows_of_a_program(lab: Lab) -> None:
    unchanged.process_of_todo(lab)


def test_a_cut_node_is_reached_by_the_host_and_not_by_its_peers(lab: Lab) -> None:
    unchanged.cut_from_mysql(lab, "todo0")


_EAR = """
import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind((sys.argv[1], 9999))
ear.settimeout(2)
print("ready", flush=True)
try:
    print(ear.recv(9).decode())
except TimeoutError:
    print("nothing")
"""
_MOUTH = "import socket, sys; socket.socket(type=socket.SOCK_DGRAM).sendto(b'word', (sys.argv[1], 9999))"


def heard(lab: Lab, source: str, ear: str) -> str:
    """Return what arrives of a datagram from one node at another, whose kernel answers nothing."""
    address = lab.topology[ear].address
    inside = ["ip", "netns", "exec"]
    command = [*inside, f"lab-{ear}", sys.executable, "-c", _EAR, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
        assert listening.stdout is not None
        assert listening.stdout.readline() == "ready\n"
        subprocess.run([*inside, f"lab-{source}", sys.executable, "-c", _MOUTH, address], check=True)
        return listening.stdout.readline().strip()


def test_one_direction_is_dropped_and_the_other_is_not(lab: Lab) -> None:
    plan = faults.plan(lab, "deaf", "todo0/mysql")
    FAULTS["deaf"].inject(lab, plan)
    try:
        assert heard(lab, "todo0", "mysql") == "word", "what it sends arrives"
        assert heard(lab, "mysql", "todo0") == "nothing", "what it is sent does not"
        assert heard(lab, "todo1", "todo0") == "word", "from others it does"
    finally:
        FAULTS["deaf"].heal(lab, plan)
    assert heard(lab, "mysql", "todo0") == "word"


def test_what_a_killed_notebook_cut_off_is_mended_by_the_next(lab: Lab) -> None:
    FAULTS["partition"].inject(lab, faults.plan(lab, "partition", "todo0"))
    time.sleep(1)
    assert Lab.at("deployed", lambda _line: None).state == "deployed"
    assert heard(lab, "mysql", "todo0") == "word"


def test_a_damaged_network_is_made_anew(lab: Lab) -> None:
    subprocess.run(["ip", "link", "del", "lab0"], check=True)
    # The blackhole answers, and nothing leaves this machine by its way to the world.
    with pytest.raises(OSError, match="Invalid argument") as refused:
        socket.create_connection((lab.topology["todo0"].address, lab.topology.ports["todo"]), timeout=5)
    assert refused.value.errno == errno.EINVAL
    said: list[str] = []
    # Not "deployed": Vault's old leader lost its lock without a word, and a minute would pass until the next.
    assert Lab.at("nodes", said.append).state == "nodes"
    assert any("network is damaged" in line for line in said)


def took(lab: Lab, fault: str, seconds: float) -> tuple[pd.Series[float], pd.Series[float]]:
    """Return how long todo0's good answers took before a fault of it, and during it, in seconds."""
    with lab.record(f"todo0: {fault}") as run:
        run.steady(6)
        run.inject(fault, "todo0")
        run.observe(seconds)
    assert run.records is not None
    events = run.records.events.set_index("phase").t_begin
    asked = run.records.samples.query("source == 'todo' and target == 'todo0' and error == 'none'")
    times = asked.done - asked.sent
    return times[asked.sent < events["inject"]], times[asked.sent.between(events["inject"], events["heal"])]


def test_a_bad_cable_slows_a_service_and_does_not_break_it(lab: Lab) -> None:
    before, during = took(lab, "lossy", 12)
    # A lost packet is sent again after 0.2 s at the earliest (TCP_RTO_MIN); a healthy answer takes 10 ms.
    assert during.quantile(0.9) > 0.2 > before.quantile(0.9)


def test_a_long_way_costs_a_new_connection_two_delays(lab: Lab) -> None:
    if not lab.can("slow"):
        pytest.skip("this kernel has no netem")
    before, during = took(lab, "slow", 8)
    # The handshake and the answer are 0.1 s late, and so is what todo asks MySQL; a healthy one takes 10 ms.
    assert before.median() < 0.1 < 0.2 < during.min()
    again, _ = took(lab, "slow", 0)
    assert again.median() < 0.1, "the delay is gone with the heal"


def test_a_crash_of_everything_leaves_nothing_that_the_next_command_cannot_remove(lab: Lab) -> None:
    driver = lab.driver
    assert isinstance(driver, NetnsDriver)
    pids = [driver.pid(target) for target in lab.topology.programs()]
    supervisor = driver.supervisor
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    for pid in pids:
        if pid is not None and psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    said: list[str] = []
    again = Lab.at("deployed", said.append)
    assert again.state == "deployed"
    assert any("network of a lab that was not taken down" in line for line in said)


def test_addresses_in_use_are_named(lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("LAB_HOME", f"{tmp_path}/other")
    with pytest.raises(LabError, match=f"in use by the lab in {re.escape(str(lab.home.path))}"):
        Lab.at("nodes")
    Lab.open().down(purge=True)
    monkeypatch.undo()
    assert lab.state == "deployed", "the other one's end is not this one's"
    assert heard(lab, "mysql", "todo0") == "word"


def test_a_bridge_of_somebody_else_is_left_alone(ended: Lab) -> None:
    subprocess.run(["ip", "link", "add", "lab0", "type", "bridge"], check=True)
    try:
        with pytest.raises(LabError, match="bridge lab0 here that no lab made"):
            Lab.at("nodes")
        Lab.open().down()
        assert Path("/sys/class/net/lab0").exists()
    finally:
        subprocess.run(["ip", "link", "del", "lab0"], check=True)


@pytest.mark.parametrize("words", ["link add v-todo0 type bridge", "netns add lab-todo0"])
def test_what_bears_our_names_and_is_somebody_else_s_is_left_alone(ended: Lab, words: str) -> None:
    kind, _, name, *_ = words.split()
    subprocess.run(["ip", *words.split()], check=True)
    try:
        with pytest.raises(LabError, match=f"{name} here that no lab made"):
            Lab.at("nodes")
        Lab.open().down()
        shown = subprocess.run(["ip", kind, "show"], capture_output=True, text=True, check=True).stdout
        assert name in shown
    finally:
        subprocess.run(["ip", kind, "del", name], check=True)


def test_a_lab_that_ended_before_its_bridge_had_a_name_is_cleared_away(ended: Lab) -> None:
    for words in ("route add blackhole 172.20.20.0/24 metric 9999", "link add lab0 type bridge"):
        subprocess.run(["ip", *words.split()], check=True)
    ended.down()
    assert not Path("/sys/class/net/lab0").exists()
    for words in ("route add blackhole 172.20.20.0/24 metric 9999", "link add lab0 type bridge"):
        subprocess.run(["ip", *words.split()], check=True)
    assert Lab.at("nodes", lambda _line: None).state == "nodes"


@pytest.mark.parametrize("route", ["172.20.20.128/25", "172.20.0.0/16"])
def test_a_route_of_somebody_else_is_named(ended: Lab, route: str) -> None:
    subprocess.run(["ip", "route", "add", "unreachable", route], check=True)
    try:
        with pytest.raises(LabError, match=f"172.20.20.0/24 are in use here .*{route}"):
            Lab.at("nodes")
    finally:
        subprocess.run(["ip", "route", "del", "unreachable", route], check=True)


@pytest.mark.parametrize("notebook", ["05-break-todo", "06-break-vault"])
def test_a_notebook_unchanged(lab: Lab, notebook: str) -> None:
    unchanged.notebook(notebook)
