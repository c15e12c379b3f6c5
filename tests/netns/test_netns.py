"""What only separate networks can show: a node cut off, a cable pulled, and no acknowledged write lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass, field

import hvac
import psutil
import pytest
import requests

from helpers import Lab, LabError, clients
from helpers.drivers.netns import NetnsDriver
from helpers.experiment import Run
from helpers.waiting import until


def judged(run: Run) -> None:
    """Demand that everything that has a bound was measured and lies in it."""
    assert str(run.verdict()) == "held", run.table().to_string()


@pytest.mark.parametrize(
    ("fault", "target", "seconds"),
    [
        ("kill", "todo0", 7),
        ("pause", "todo0", 8),
        ("unplug", "todo0", 14),
        ("partition", "todo1", 14),
        ("step_down", "vault.leader", 4),
        ("kill", "mysql", 7),
    ],
)
def test_a_short_fault_stays_in_its_bounds(lab: Lab, fault: str, target: str, seconds: float) -> None:
    with lab.record(f"{target}: {fault}") as run:
        run.steady(4)
        run.inject(fault, target)
        run.observe(seconds)
    judged(run)


@pytest.mark.parametrize("fault", ["partition", "unplug", "power_off"])
def test_a_leader_cut_off_is_replaced_in_half_the_time_of_a_crash(lab: Lab, fault: str) -> None:
    with lab.record(f"the leader: {fault}") as run:
        run.steady(4)
        run.inject(fault, "vault.leader")
        run.observe(30)
    judged(run)


@dataclass
class Writer:
    """Writes numbered secrets through one Vault, one after the other, and keeps what was acknowledged."""

    lab: Lab
    node: str
    acknowledged: list[str] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Write until told to stop; an error or a time-out is no acknowledgement."""
        # A time-out of 3 s, as in Vault's own fencing test.
        client = clients.vault(
            self.lab.address_of_vault(self.node), self.lab.vault(self.node).token, timeout=3
        )
        number = 0
        while not self.stopping.wait(0.1):
            name = f"{self.node}-{number}"
            try:
                client.secrets.kv.v1.create_or_update_secret(name, {"n": number}, mount_point="secret")
                self.acknowledged.append(name)
            except (hvac.exceptions.VaultError, requests.RequestException):
                pass
            number += 1


@pytest.mark.parametrize("attempt", range(3))
def test_no_acknowledged_write_is_lost_when_the_leader_is_cut_off(lab: Lab, attempt: int) -> None:
    leader = lab.active_vault()
    if "secret/" not in leader.sys.list_mounted_secrets_engines()["data"]:
        leader.sys.enable_secrets_engine("kv", path="secret", options={"version": "1"})
    old = lab.resolve("vault.leader")[0].node
    writers = [Writer(lab, node.name) for node in lab.topology.of("vault")]
    threads = [threading.Thread(target=writer.run) for writer in writers]
    for thread in threads:
        thread.start()
    until(lambda: all(writer.acknowledged for writer in writers), "A first write by each", 10)
    peers = [node for node in lab.topology.nodes if node != old]
    lab.driver.cut(old, peers)
    try:
        other = next(writer for writer in writers if writer.node != old)
        before = len(other.acknowledged)
        # 26.9 s is the longest that serf, the lock-delay and the takeover allow (helpers/bounds.py).
        until(lambda: len(other.acknowledged) >= before + 20, "Twenty writes by the new leader", 45)
    finally:
        lab.driver.mend(old)
    until(lambda: lab.vault(old, "").sys.read_health_status(method="GET") is not None, "An answer", 30)
    time.sleep(3)  # the old leader's last requests end within their time-out of 3 s
    for writer in writers:
        writer.stopping.set()
    for thread in threads:
        thread.join(10)
    lab.reach("deployed", quiet=True)
    kept = set(lab.active_vault().secrets.kv.v1.list_secrets("", mount_point="secret")["data"]["keys"])
    lost = [name for writer in writers for name in writer.acknowledged if name not in kept]
    assert lost == []
    assert sum(len(writer.acknowledged) for writer in writers) > 20


def test_a_cut_node_is_reached_by_the_host_and_not_by_its_peers(lab: Lab) -> None:
    lab.driver.cut("todo0", ["mysql"])
    try:
        url = f"http://{lab.topology['todo0'].address}:{lab.topology.ports['todo']}/todo"
        assert requests.get(url, timeout=5).status_code == 503, "without MySQL it says so"
    finally:
        lab.driver.mend("todo0")
    until(lambda: requests.get(url, timeout=5).status_code == 200, "todo0 after the mending", 15)


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
    with pytest.raises(LabError, match="in use"):
        Lab.at("nodes")
    monkeypatch.undo()
