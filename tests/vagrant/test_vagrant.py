"""The same verbs and experiments on six machines: containers with systemd, booted by lab/Vagrantfile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import requests

from helpers import Lab, LabError
from helpers.drivers.rules import TABLE
from helpers.drivers.vagrant import FILES, VagrantDriver
from helpers.topology import LAB_DATA
from helpers.waiting import until
from tests import unchanged

# One of each kind: the tour, the cluster by hand, a service broken, a cluster broken.
NOTEBOOKS = ("00-start-here", "03-build-the-cluster", "05-break-todo", "06-break-vault")


def driver(lab: Lab) -> VagrantDriver:
    assert isinstance(lab.driver, VagrantDriver)
    return lab.driver


def container(lab: Lab, node: str) -> str:
    found = driver(lab).provider.id(node)
    assert found is not None
    return found


def inside(lab: Lab, node: str, *command: str) -> str:
    done = subprocess.run(
        ["docker", "exec", container(lab, node), *command], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def test_the_verbs(lab: Lab) -> None:
    todo = lab.topology.target("todo0")
    lab.stop("todo0")
    assert lab.driver.state(todo) == "stopped"
    with pytest.raises(LabError, match="does not run"):
        lab.kill("todo0")
    lab.start("todo0")
    assert lab.driver.state(todo) == "running"
    lab.pause("todo0")
    assert lab.driver.state(todo) == "paused"
    lab.resume("todo0")
    assert lab.driver.state(todo) == "running"
    first = lab.driver.pid(todo)
    lab.kill("todo0")
    assert lab.driver.state(todo) == "stopped"
    lab.start("todo0")
    assert lab.driver.pid(todo) not in (None, first)


# The other faults of todo and Vault are in the notebooks 05 and 06, which are tested below with their bounds.
@pytest.mark.parametrize(
    ("fault", "target", "seconds"),
    [
        ("kill", "mysql", 7),
        ("power_off", "mysql", 14),
        ("power_off", "todo1", 14),
        ("suspend", "todo0", 14),
        ("maintenance", "todo0", 3),
    ],
)
def test_a_fault_stays_in_its_bounds(lab: Lab, fault: str, target: str, seconds: float) -> None:
    unchanged.experiment(lab, fault, target, seconds)


def tables(lab: Lab, node: str) -> str:
    return inside(lab, node, "nft", "list", "tables")


@pytest.mark.parametrize("fault", ["lossy", "deaf"])
def test_other_faults_of_a_network_are_there_and_are_healed(lab: Lab, fault: str) -> None:
    with lab.record(f"todo0: {fault}") as run:
        run.inject(fault, "todo0/mysql")
        assert TABLE in tables(lab, "todo0")
        assert TABLE not in tables(lab, "mysql")
        run.observe(2)
        run.heal()
    assert TABLE not in tables(lab, "todo0")
    assert lab.state == "deployed"


def member(lab: Lab, node: str) -> int:
    """Return serf's status of a node: 1 is alive, 3 is left, 4 is failed."""
    return next(int(each["Status"]) for each in lab.consul().agent.members() if each["Name"] == node)


def test_a_node_that_leaves_has_left_and_comes_back(lab: Lab) -> None:
    with lab.record("todo1: leave") as run:
        run.inject("leave", "todo1")
        until(lambda: member(lab, "todo1") == 3, "The leave of todo1", 10)
        run.heal()
    assert member(lab, "todo1") == 1
    assert lab.state == "deployed"


def test_a_restarted_service_is_another_process(lab: Lab) -> None:
    todo = lab.topology.target("todo0")
    before = lab.driver.pid(todo)
    with lab.record("todo0: restart") as run:
        run.inject("restart", "todo0")
        run.heal()
    assert lab.driver.pid(todo) not in (None, before)
    assert lab.state == "deployed"


def test_a_machine_that_loses_its_power_says_nothing_and_comes_back(lab: Lab) -> None:
    driver(lab).power_off("todo1")
    url = f"http://{lab.topology['todo1'].address}:{lab.topology.ports['todo']}/health"
    # Nobody refuses: the address is silent, or the network knows no such machine any more.
    with pytest.raises((requests.ConnectTimeout, requests.ConnectionError), match=r"timed out|No route"):
        requests.get(url, timeout=1)
    assert [lab.driver.state(t) for t in lab.topology.programs() if t.node == "todo1"] == ["stopped"] * 2
    lab.heal()
    assert requests.get(url, timeout=5).status_code == requests.codes.ok


def test_a_suspended_machine_hears_nothing_until_it_is_woken(lab: Lab) -> None:
    driver(lab).suspend("todo1")
    todo = lab.topology.target("todo1")
    assert lab.driver.state(todo) == "paused"
    with pytest.raises(LabError, match="is suspended and hears nothing"):
        lab.stop("todo1")
    lab.heal()
    assert lab.driver.state(todo) == "running"
    assert lab.state == "deployed"


def test_a_machine_that_is_halted_unasked_does_not_leave_the_cluster(lab: Lab) -> None:
    subprocess.run(["docker", "stop", container(lab, "todo1")], capture_output=True, check=True)
    until(lambda: member(lab, "todo1") != 1, "The loss of todo1", 20)
    assert member(lab, "todo1") == 4


def test_a_unit_does_not_start_again_by_itself(lab: Lab) -> None:
    lab.kill("todo0")
    assert inside(lab, "todo0", "systemctl", "show", "-P", "Restart", "lab-todo") == "no"
    assert inside(lab, "todo0", "systemctl", "is-active", "lab-todo") == "failed"


def test_what_the_system_knows_of_a_program(lab: Lab) -> None:
    unchanged.process_of_todo(lab)


def test_a_cut_node_is_reached_by_the_host_and_not_by_its_peers(lab: Lab) -> None:
    unchanged.cut_from_mysql(lab, "todo0")


def test_a_spare_machine_is_booted_when_it_is_asked_for(lab: Lab) -> None:
    lab.reach("initialized", quiet=True)  # which forgets the old cluster's files, and keeps the machines
    lab.reach("deployed", quiet=True)
    lab.deploy("todo2")
    assert inside(lab, "todo2", "systemctl", "is-active", "lab-todo") == "active"
    lab.stop("todo2")


def test_a_lab_half_destroyed_is_made_whole(lab: Lab) -> None:
    supervisor = driver(lab).supervisor
    assert supervisor is not None
    os.kill(supervisor, signal.SIGKILL)
    subprocess.run(["docker", "rm", "-f", container(lab, "todo1")], capture_output=True, check=True)
    assert Lab.at("deployed").state == "deployed"


def test_going_down_the_ladder_keeps_the_machines(lab: Lab) -> None:
    before = container(lab, "consul")
    lab.reach("nodes", quiet=True)
    assert container(lab, "consul") == before
    assert not lab.vault("vault0", "").sys.is_initialized()


def test_a_second_lab_is_told_whose_the_machines_are(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("LAB_HOME", f"{tmp_path}/other")
    with pytest.raises(LabError, match="belong to the lab in"):
        Lab.at("nodes")
    monkeypatch.undo()


def test_a_daemon_that_is_gone_is_one_sentence(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    with pytest.raises(LabError, match="Docker daemon does not answer"):
        Lab.open().reach("nodes")
    monkeypatch.undo()


def test_no_secret_is_in_the_vagrantfile_s_data(lab: Lab) -> None:
    text = (FILES / "lab.json").read_text() + (lab.home.path / "logs" / "vagrant.log").read_text()
    for name in ("root-token", "vaultadmin", "operator-token"):
        secret = lab.home.secret(name)
        assert secret is None or secret not in text


@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_a_notebook_unchanged(lab: Lab, notebook: str) -> None:
    unchanged.notebook(notebook)


@pytest.mark.parametrize("provider", ["docker", "libvirt", "virtualbox"])
def test_the_vagrantfile_is_valid(provider: str, tmp_path: Path, daemon: None) -> None:
    if provider == "virtualbox" and shutil.which("VBoxManage") is None:
        # Vagrant asks it for its version before it looks at the file; nothing is booted here.
        stand_in = tmp_path / "VBoxManage"
        stand_in.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 7.0.10r158379\n')
        stand_in.chmod(0o755)
    # A copy, beside no lab: Vagrant validates with the provider of machines that are there. Libvirt's shared
    # folders want an NFS server, which is not installed for this.
    copy = tmp_path / "lab"
    shutil.copytree(LAB_DATA, copy, ignore=shutil.ignore_patterns(".vagrant"))
    (copy / ".vagrant").mkdir()
    folders = {} if provider == "libvirt" else {"todo0": [str(tmp_path)]}
    shared = {"home": str(tmp_path), "provider": provider, "folders": folders}
    (copy / ".vagrant" / "lab.json").write_text(json.dumps(shared))
    variables = {"VAGRANT_DEFAULT_PROVIDER": provider, "VAGRANT_CHECKPOINT_DISABLE": "1"}
    environment = {**os.environ, **variables, "PATH": f"{os.environ['PATH']}:{tmp_path}"}

    def validate() -> subprocess.CompletedProcess[str]:
        command = ["vagrant", "validate"]
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)

    done = validate()
    if "could not be found" in done.stderr:
        pytest.skip(f"Vagrant has no {provider} on this machine: apt-get install vagrant-{provider}")
    assert done.returncode == 0, done.stderr
    file = copy / "Vagrantfile"
    file.write_text(file.read_text().replace("config.vm.boot_timeout", "config.vm.boot_time"))
    assert validate().returncode != 0, "it looks at the file"
