"""The vagrant driver without machines: what it writes for them, and its sentences for what is missing."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers import cli
from helpers.drivers import guest, guest_python, host, inside, providers, vagrant, vagrant_command
from helpers.errors import LabError
from helpers.home import Home
from helpers.lab import Lab
from helpers.programs import Program
from helpers.topology import LAB_DATA, REPOSITORY, Target, load
from helpers.waiting import until


def stub(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("VAGRANT_DEFAULT_PROVIDER", raising=False)
    return folder


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> vagrant.VagrantDriver:
    monkeypatch.setattr(vagrant, "FILES", tmp_path / "vagrant")
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "docker")
    home = Home(tmp_path / "a lab")
    home.create()
    return vagrant.VagrantDriver(home, load("vagrant"))


def test_what_todo_imports_is_what_a_machine_gets() -> None:
    found = set()
    for file in (REPOSITORY / "todo").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {name.split(".")[0] for name in names if name}
    lock = guest_python.needed((REPOSITORY / "requirements.lock").read_text())
    locked = set(re.findall(r"^([a-z0-9._-]+)==", lock, re.M))
    outside = found - set(sys.stdlib_module_names) - {"todo"}
    assert {{"consul": "python-consul"}.get(name, name.replace("_", "-")) for name in outside} <= locked
    assert not locked & {"jupyterlab", "pandas", "supervisor"}, "a machine gets todo's packages only"
    assert lock.count("--hash=") >= len(locked)


def test_no_provider_is_one_sentence(path: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match="nothing to run machines with"):
        providers.choose(tmp_path, None)


def test_an_unknown_provider_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="the lab knows virtualbox, libvirt, docker"):
        providers.choose(tmp_path, "hyperv")


def test_a_docker_without_a_daemon_is_one_sentence(path: Path, tmp_path: Path) -> None:
    stub(path, "docker", "echo 'Cannot connect' >&2; exit 1")
    with pytest.raises(LabError, match="daemon does not answer"):
        providers.Docker(tmp_path).refuse_unfit()


def test_machines_come_before_containers(path: Path, tmp_path: Path) -> None:
    stub(path, "docker", "exit 0")
    assert providers.choose(tmp_path, None).name == "docker"
    stub(path, "VBoxManage", "exit 0")
    assert providers.choose(tmp_path, None).name == "virtualbox"


def test_no_vagrant_is_one_sentence(path: Path, driver: vagrant.VagrantDriver) -> None:
    with pytest.raises(LabError, match="needs Vagrant; `lab doctor --fix`"):
        driver.prepare(lambda _line: None)


def test_a_failed_boot_says_why_in_one_line(path: Path, driver: vagrant.VagrantDriver) -> None:
    stub(path, "env", "echo 'The box is gone.' >&2; exit 1")
    with pytest.raises(LabError, match=r"`vagrant up` failed: The box is gone \(log: .*`lab down --purge`"):
        driver._vagrant("up")


def test_a_machine_that_fails_beside_others_is_tried_once_more(
    path: Path, driver: vagrant.VagrantDriver, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    stub(
        path,
        "env",
        f"echo up >> {calls}; [ $(/usr/bin/wc -l < {calls}) = 2 ] || {{ echo Busy. >&2; exit 1; }}",
    )
    heard: list[str] = []
    with pytest.raises(LabError, match="Busy"):
        driver._vagrant("up", again=heard.append)
    assert calls.read_text().count("up") == 1, "nothing stands, so there is nothing to complete"
    calls.unlink()
    made = vagrant.FILES / "machines" / "todo0" / "docker"
    made.mkdir(parents=True)
    (made / "id").write_text("4711")
    (vagrant.FILES / "booted-todo0").write_text("4711")
    driver._vagrant("up", again=heard.append)
    assert heard == ["  not every machine came up (Busy); once more, for what is missing"]
    with pytest.raises(LabError, match="Busy"):
        driver._vagrant("up", again=heard.append)
    assert calls.read_text().count("up") == 4


def test_a_machine_that_was_half_booted_is_destroyed_before_the_next_try(
    path: Path, driver: vagrant.VagrantDriver, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    stub(path, "env", f'echo "$*" >> {asked}; case "$*" in *destroy*) exit 0;; esac; exit 1')
    for node in ("todo0", "todo1"):
        made = vagrant.FILES / "machines" / node / "docker"
        made.mkdir(parents=True)
        (made / "id").write_text(f"of {node}")
    (vagrant.FILES / "booted-todo0").write_text("of todo0")
    with pytest.raises(LabError, match="`vagrant up` failed"):
        driver._vagrant("up", again=lambda _line: None)
    words = [line.split(" vagrant ")[1] for line in asked.read_text().splitlines()]
    assert words == ["up", "destroy -f todo1", "up"]


SIDE_BY_SIDE = """\
==> todo1: An error occurred. The error will be shown after all tasks complete.
An error occurred while executing multiple actions in parallel.
Any errors that occurred are shown below.

An error occurred while executing the action on the 'todo1'
machine. Please handle this error then try again:

A Docker command executed by Vagrant didn't complete successfully!
The command run along with the output from the command is shown
below.

Command: ["docker", "network", "create"]

Stderr: the address
is in use

Stdout:
"""
VIRTUALBOX = """\
There was an error while executing `VBoxManage`, a CLI used by Vagrant
for controlling VirtualBox. The command and stderr is shown below.

Command: ["startvm", "4711", "--type", "headless"]

Stderr: VBoxManage: error: VT-x is being used by another hypervisor
"""
LIBVIRT = """\
There was an error talking to Libvirt. The error message is shown
below:

Call to virDomainCreateWithFlags failed: no space left
"""
FAILED_PROVISIONER = SIDE_BY_SIDE.partition("A Docker command")[0] + "The SSH command returned 1.\n"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "no reason given"),
        ("The box is\ngone.\n\nA long explanation.\n", "The box is gone."),
        (SIDE_BY_SIDE, "todo1: Stderr: the address is in use"),
        (FAILED_PROVISIONER, "todo1: The SSH command returned 1."),
        (SIDE_BY_SIDE.partition("A Docker command")[0], "todo1: no reason given"),
        (VIRTUALBOX, "Stderr: VBoxManage: error: VT-x is being used by another hypervisor"),
        (LIBVIRT, "Call to virDomainCreateWithFlags failed: no space left"),
    ],
)
def test_vagrants_reason_is_found_behind_its_preface(said: str, reason: str) -> None:
    assert vagrant_command.why(said) == reason


def test_a_way_to_a_machine_that_vagrant_does_not_know_is_no_way(path: Path, tmp_path: Path) -> None:
    stub(path, "env", "echo 'Host todo0'; echo '  Port 2200'")
    vagrant_command.write_ssh_config(tmp_path, "todo0", tmp_path / "ssh-config-todo0")
    assert "Port 2200" in (tmp_path / "ssh-config-todo0").read_text()
    with pytest.raises(LabError, match="no way to todo1"):
        vagrant_command.write_ssh_config(tmp_path, "todo1", tmp_path / "ssh-config-todo1")
    assert not (tmp_path / "ssh-config-todo1").exists()


@pytest.mark.parametrize(("client", "api"), [("1.50", None), ("1.52", "1.51"), ("1.60", "1.51"), ("", None)])
def test_vagrant_asks_a_newer_docker_for_what_it_still_understands(
    path: Path, tmp_path: Path, client: str, api: str | None
) -> None:
    stub(path, "docker", f"echo {client}")
    assert providers.Docker(tmp_path).api() == api


@pytest.mark.parametrize(
    ("line", "provider", "refused"),
    [
        ("172.20.0.0/16 dev br-1f proto kernel scope link", "docker", True),
        ("172.20.20.0/24 dev virbr1 proto kernel", "docker", True),
        ("172.20.20.0/24 dev virbr1 proto kernel", "libvirt", False),
        ("default via 10.0.0.1 dev eth0", "docker", False),
    ],
)
def test_a_route_of_somebody_else_is_named(
    path: Path, tmp_path: Path, line: str, provider: str, refused: bool
) -> None:
    stub(path, "ip", f"echo '{line}'")
    asked = providers.PROVIDERS[provider](tmp_path)
    if refused:
        with pytest.raises(LabError, match=r"are in use here \(172\.20\..*LAB_NETWORK"):
            host.refuse_taken_addresses(asked, "172.20.20")
    else:
        host.refuse_taken_addresses(asked, "172.20.20")


def test_machines_of_another_checkout_are_named_and_those_of_no_lab_removed(
    path: Path, driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = Home(tmp_path / "other")
    other.create()
    stub(path, "vagrant", "exit 0")
    stub(path, "ip", "exit 0")
    stub(
        path,
        "docker",
        f'echo "$*" >>"{path}/asked"; case "$*" in *"-a --filter"*) echo "{other.path}";; esac',
    )
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin:/usr/sbin")
    with pytest.raises(LabError, match=r"The lab in .*other has such machines"):
        driver._refuse_unfit_machine()
    shutil.rmtree(other.path)
    driver._refuse_unfit_machine()
    assert f"label=twelve-factor-lab={other.path}" in (path / "asked").read_text()


def test_machines_that_only_vagrant_can_remove_are_not_forgotten(
    path: Path, driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(path, "virsh", "echo running")
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "libvirt")
    file = vagrant.FILES / "machines" / "todo0" / "libvirt" / "id"
    file.parent.mkdir(parents=True)
    file.write_text("abc")
    with pytest.raises(LabError, match=r"Only Vagrant can remove its machines \(todo0\)"):
        vagrant.VagrantDriver(driver.home, driver.topology).down(lambda _line: None)
    assert file.exists()


def test_a_process_that_lives_in_no_container_is_none_of_a_container_s() -> None:
    assert inside.here([os.getpid()]) == {}


class ThisMachine:
    """Runs the scripts for a node here, as they are, but for what `ss` shows."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def run(self, _node: str, script: str) -> str:
        script = f"ss() {{ printf '%s\n' '{self.shown}'; }}\n{script}"
        done = subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError("A command on the machine failed.")
        return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="machines have /proc")
def test_a_process_of_a_machine_tells_what_its_kernel_knows() -> None:
    """An argument with a line end, a variable with an equals sign, and the neighbour's ports left out."""
    words = [sys.executable, "-c", "input()", "two\nlines"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={"ONE": "a=b", "EMPTY": ""}) as asked:
        end = 'users:(("python3",pid={},fd=6))'
        lines = [
            f"LISTEN 0 100 172.20.20.14:8080 0.0.0.0:* {end.format(asked.pid)}",
            f"LISTEN 0 100 [::]:8081 [::]:* {end.format(asked.pid)}",
            f"LISTEN 0 100 172.20.20.14:8500 0.0.0.0:* {end.format(f'{asked.pid}0')}",
        ]
        remote: Any = ThisMachine("\n".join(lines))
        until(lambda: "input()" in Path(f"/proc/{asked.pid}/cmdline").read_text(), "The exec of Python", 5)
        found = inside.process(remote, "todo0", asked.pid)
        asked.communicate(b"\n")
    assert (found.pid, found.command, found.listening) == (asked.pid, words, [8080, 8081])
    assert found.environment == {"ONE": "a=b", "EMPTY": ""}
    with pytest.raises(LabError):
        inside.process(remote, "todo0", asked.pid)  # which has ended


def test_a_lab_that_was_never_booted_goes_down(path: Path, driver: vagrant.VagrantDriver) -> None:
    driver.down(lambda _line: None)


def test_machines_of_a_lab_whose_folder_is_gone_are_removed(
    path: Path, driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("docker", "vagrant"):
        stub(path, name, f'echo "{name} $*" >>"{path}/asked"; case "$*" in *State.Running*) echo true;; esac')
    with (path / "vagrant").open("a") as script:
        script.write(f'/bin/cp "{vagrant.FILES}/lab.json" "{path}/seen"\n')
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    place = vagrant.FILES / "machines" / "todo0" / "docker"
    place.mkdir(parents=True)
    (place / "id").write_text("abc")
    shared = {"home": "/gone", "network": "172.20.30", "provider": "docker", "key": "/gone/key"}
    (vagrant.FILES / "lab.json").write_text(json.dumps({**shared, "folders": {"todo0": ["/gone/logs"]}}))
    driver.down(lambda _line: None)
    asked = (path / "asked").read_text()
    for words in ("docker kill abc", "vagrant destroy -f", "twelve-factor-lab=/gone", "172.20.30.0/24"):
        assert words in asked
    assert not vagrant.FILES.exists()
    assert "/gone/" not in (path / "seen").read_text(), "Vagrant refuses a file that names what is gone"


def test_containers_without_vagrant_s_folder_are_removed(path: Path, driver: vagrant.VagrantDriver) -> None:
    home = driver.home.path
    stub(
        path,
        "docker",
        f'echo "$*" >>"{path}/asked"; case "$*" in *Label*) echo "{home}";; *-aq*) echo 4711;; esac',
    )
    driver.down(lambda _line: None)
    assert "rm -f 4711" in (path / "asked").read_text()


def test_machines_that_boot_at_this_moment_are_left_alone(driver: vagrant.VagrantDriver) -> None:
    vagrant.FILES.mkdir()
    driver.note_booting(os.getpid())
    with pytest.raises(LabError, match="`vagrant up` is booting the machines in another terminal"):
        driver.down(lambda _line: None)


def test_tables_that_the_machines_cannot_open_are_not_made(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(path, "vagrant", "exit 0")
    monkeypatch.setattr(
        host, "find", lambda name: Program(name, Path("/usr/sbin/mariadbd"), "11.8.3", "mariadb", "PATH")
    )
    with pytest.raises(LabError, match=r"cannot open tables made by the 11\.8\.3"):
        host.refuse_unfit()


def test_a_command_has_time_to_clean_up_after_ctrl_c(tmp_path: Path) -> None:
    """A terminal sends the signal to the whole group: to us, and to Vagrant or the maker of the image."""
    ready, cleaned = tmp_path / "ready", tmp_path / "cleaned"
    command = f"trap 'sleep 0.6; touch {cleaned}; exit 1' INT; touch {ready}; while :; do sleep 0.05; done"
    code = f"from helpers.drivers.providers import run; run('sh', '-c', {command!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], start_new_session=True, stderr=subprocess.PIPE, cwd=REPOSITORY
    ) as asked:
        until(ready.exists, "The start of the command", 10)
        os.killpg(asked.pid, signal.SIGINT)
        _, said = asked.communicate(timeout=20)
    assert cleaned.exists()
    assert asked.returncode != 0
    assert b"KeyboardInterrupt" in said, "it is passed on, for the caller to say"


def test_too_little_memory_is_one_sentence(
    path: Path, driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("vagrant", "docker"):
        stub(path, name, "exit 0")
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    monkeypatch.setitem(host.MEMORY, "containers", 1e6)
    with pytest.raises(LabError, match="GiB are free"):
        driver.prepare(lambda _line: None)


@pytest.mark.parametrize("program", ["agent", "vault", "mariadb", "todo"])
def test_a_unit_never_starts_again_and_quotes_its_paths(driver: vagrant.VagrantDriver, program: str) -> None:
    target = next(t for t in driver.topology.programs() if t.program == program)
    guest.write_unit(driver.home, driver.topology, target, Path("/a cache/packages"), containers=True)
    text = (driver.home.path / "nodes" / target.node / "units" / f"lab-{program}.service").read_text()
    assert "Restart=no" in text
    assert f"KillSignal={'SIGKILL' if program == 'agent' else 'SIGTERM'}" in text
    command = re.search(r"^ExecStart=(.*)$", text, re.M)
    assert command is not None
    assert all(word.startswith('"') and word.endswith('"') for word in re.findall(r'"[^"]*"|\S+', command[1]))


def test_a_machine_without_an_id_runs_nothing(driver: vagrant.VagrantDriver) -> None:
    assert driver.state(Target("todo0", "todo")) == "stopped"
    assert driver.pid(Target("todo0", "todo")) is None


def test_a_suspended_machine_is_paused_and_hears_nothing(
    path: Path, driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(path, "docker", 'case "$*" in *State.Paused*|*State.Running*) echo true;; esac')
    monkeypatch.setenv("PATH", f"{path}:/usr/bin:/bin")
    place = vagrant.FILES / "machines" / "todo0" / "docker"
    place.mkdir(parents=True)
    (place / "id").write_text("abc")
    todo = Target("todo0", "todo")
    assert driver.state(todo) == "paused"
    with pytest.raises(LabError, match=r"todo0 is suspended and hears nothing; `lab heal` wakes it\."):
        driver.stop([todo])
    with pytest.raises(LabError, match="todo0 is suspended"):
        driver.signal(todo, "KILL")


def test_another_network_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_NETWORK", "172.20.21")
    assert vagrant.network() == "172.20.21"
    monkeypatch.delenv("LAB_NETWORK")
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "virtualbox")
    assert vagrant.network() == "192.168.56"


@pytest.mark.parametrize(
    ("kept", "provider", "chosen", "refused"),
    [
        ("172.20.20", "docker", "", False),
        ("172.20.20", "virtualbox", "", True),
        ("192.168.56", "docker", "", True),
        ("10.20.20", "docker", "", False),  # chosen when the lab was made
        ("10.20.20", "docker", "10.20.21", True),
        ("10.20.20", "virtualbox", "10.20.20", False),
    ],
)
def test_a_lab_keeps_its_network(
    driver: vagrant.VagrantDriver,
    monkeypatch: pytest.MonkeyPatch,
    kept: str,
    provider: str,
    chosen: str,
    refused: bool,
) -> None:
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", provider)
    monkeypatch.setenv("LAB_NETWORK", chosen)
    made = vagrant.VagrantDriver(driver.home, load("vagrant", kept))
    if refused:
        with pytest.raises(LabError, match=rf"was made on {kept}\.0/24, and new machines would be on"):
            made._refuse_another_network()
    else:
        made._refuse_another_network()


@pytest.mark.parametrize("chosen", ["10.20.20.0", "10.20.20.0/24", "10.20", "127.20.20", "8.8.8", "lab"])
def test_a_network_that_cannot_be_is_one_sentence(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    monkeypatch.setenv("LAB_NETWORK", chosen)
    with pytest.raises(LabError, match="LAB_NETWORK is .*; give a private network's first three numbers"):
        vagrant.network()


def test_no_address_stands_in_the_vagrantfile() -> None:
    for file in (LAB_DATA / "Vagrantfile", LAB_DATA / "provision" / "node.sh"):
        assert re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", file.read_text().replace("255.255.255.0", "")) == []


@pytest.mark.parametrize("script", ["docker/image.sh", "provision/node.sh"])
def test_the_shell_scripts_parse(script: str) -> None:
    assert subprocess.run(["sh", "-n", LAB_DATA / script], check=False).returncode == 0


@pytest.mark.skipif(shutil.which("ruby") is None, reason="no Ruby")
def test_the_vagrantfile_parses() -> None:
    done = subprocess.run(["ruby", "-c", LAB_DATA / "Vagrantfile"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_lab_that_found_no_provider_is_purged(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "lab"
    monkeypatch.setenv("LAB_HOME", str(home))
    monkeypatch.setenv("LAB_DRIVER", "vagrant")
    monkeypatch.delenv("VAGRANT_DEFAULT_PROVIDER", raising=False)
    with pytest.raises(LabError, match="nothing to run machines with"):
        Lab.open()
    assert home.exists()
    assert CliRunner().invoke(cli.app, ["down", "--purge"]).exit_code == 0
    assert not home.exists()


def test_machines_keep_the_provider_that_made_them(
    driver: vagrant.VagrantDriver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "libvirt")
    file = vagrant.FILES / "machines" / "todo0" / "docker" / "id"
    file.parent.mkdir(parents=True)
    file.write_text("1234")
    again = vagrant.VagrantDriver(driver.home, driver.topology)
    assert again.provider.name == "docker"
    assert again.provider.made() == ["todo0"]
    assert not again._booted("todo0"), "a boot that was cut off has no mark"
    (vagrant.FILES / "booted-todo0").write_text("1234\n")
    assert again._booted("todo0")
