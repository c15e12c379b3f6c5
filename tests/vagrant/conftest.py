"""Tests of the vagrant driver: six containers with systemd, by Vagrant's Docker provider; needs root.

A Docker daemon is started when none runs, in a way that touches none of the machine's own rules, and ended
after. Nothing of the lab or of that daemon is left: links, routes, rules and containers are compared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import Lab
from helpers.waiting import until
from tests import unchanged

NEEDED = ("vagrant", "docker", "ip", "nft", "ssh-keygen")
SETTINGS = ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables")


def said(*command: str) -> list[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def answers() -> bool:
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def machine() -> list[str]:
    """Return what labs and daemons could leave: names of links, routes, rules, settings of the kernel."""
    links = [line.split()[0] for line in said("ip", "-br", "link")]
    settings = [Path("/proc/sys", name) for name in SETTINGS]
    values = [f"{file}: {file.read_text().strip()}" for file in settings if file.exists()]
    routes = [line for line in said("ip", "route") if "172." in line]
    # Other labs of this machine come and go meanwhile; theirs are not this one's to judge.
    own = [link for link in links if link.startswith(("docker", "labv", "veth"))]
    rules = [line.strip() for line in said("nft", "list", "ruleset")]
    return sorted(
        [*own, *values, *(r for r in routes if "lab0" not in r), *(r for r in rules if "counter" not in r)]
    )


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker daemon: the machine's own, or one for these tests that is gone afterwards."""
    if os.geteuid() != 0:
        pytest.skip("the containers' image is built as root")
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"{' and '.join(missing)} not installed: apt-get install vagrant docker.io debootstrap")
    before = machine()
    if answers():
        yield
        assert machine() == before
        return
    if shutil.which("dockerd") is None:
        pytest.skip("no Docker daemon answers and none is installed: apt-get install docker.io")
    links = {line.split()[0] for line in said("ip", "-br", "link")}
    log = tmp_path_factory.mktemp("docker") / "dockerd.log"
    with log.open("w") as file:
        # All containers are on one bridge and want nothing from outside: no rule is needed.
        options = ("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
        process = subprocess.Popen(
            ["dockerd", *options], stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until(lambda: answers() or process.poll() is not None, "An answer of dockerd", 30, every=0.2)
        assert process.poll() is None, log.read_text()[-500:]
        yield
    finally:
        process.terminate()
        process.wait(30)
        if "docker0" not in links:
            subprocess.run(["ip", "link", "del", "docker0"], check=False)
    assert machine() == before, "the daemon left something behind"


@pytest.fixture(scope="session")
def lab(daemon: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A deployed lab on six containers; nothing of it is left afterwards."""
    before, containers = machine(), said("docker", "ps", "-aq")
    home: Path = tmp_path_factory.mktemp("vagrant") / "lab"
    # Vagrant's own command boots the first machines; the driver boots what the tests destroy.
    chosen = {"LAB_DRIVER": "vagrant", "VAGRANT_DEFAULT_PROVIDER": "docker"}
    with unchanged.deployed(home, "vagrant", "up", **chosen) as lab:
        yield lab
    assert machine() == before, "the lab left something of its network behind"
    assert said("docker", "ps", "-aq") == containers
    assert said("docker", "network", "ls", "-q", "--filter", "name=vagrant_network") == []


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Repair after each test that has the lab."""
    yield
    if "lab" in request.fixturenames:
        request.getfixturevalue("lab").reach("deployed", quiet=True)
