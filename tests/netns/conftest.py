"""Tests of the netns driver: a lab of its own in network namespaces; needs Linux and root."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers import Lab
from tests import unchanged


def network() -> str:
    """Return what of the lab's network is on this machine: links, namespaces, routes."""
    parts = [["ip", "-br", "link"], ["ip", "netns"], ["ip", "route", "show", "table", "all"]]
    shown = [subprocess.run(part, capture_output=True, text=True, check=True).stdout for part in parts]
    lines = "".join(shown).splitlines()
    return "\n".join(line for line in lines if "lab" in line or "v-" in line or "172.20.20" in line)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A deployed lab in namespaces; nothing of it is left afterwards."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    before = network()
    home: Path = tmp_path_factory.mktemp("netns") / "lab"
    with unchanged.deployed(home, LAB_DRIVER="netns") as lab:
        yield lab
    assert network() == before, "the lab left something of its network behind"


@pytest.fixture
def lab(made: Lab) -> Lab:
    """The lab, healthy, whatever the test before has done to it."""
    made.reach("deployed", quiet=True)
    return made


@pytest.fixture
def ended(made: Lab) -> Lab:
    """The lab, taken down."""
    made.down()
    return made
