"""Tests on a real lab: one for the whole run, healed after every test that broke something.

The lab is that of `LAB_HOME`, which the repository's conftest.py sets to a folder beside the reader's
own and cleans up afterwards. Tests that need a lab in another condition make one of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_command import PATIENCE, Other, Result, begin, finish

from helpers import cli, networks
from helpers.drivers import strays
from helpers.home import Home, write_private
from helpers.lab import Lab
from helpers.topology import description


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab of this run, deployed."""
    return Lab.at("deployed")


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Repair after a test what it broke, and end a spare that it deployed."""
    yield
    if "lab" not in request.fixturenames:
        return
    lab: Lab = request.getfixturevalue("lab")
    if lab.state != "deployed":
        lab.reach("deployed")
    for target in lab.topology.programs():
        if lab.topology[target.node].spare and lab.driver.pid(target) is not None:
            lab.driver.stop([target])


@pytest.fixture
def command(lab: Lab) -> Callable[..., Result]:
    """Run the real `lab` on the lab of this run."""

    def run(*words: str, at_most: float = PATIENCE, **variables: str) -> Result:
        return finish(begin(*words, home=lab.home.path, **variables), at_most)

    return run


@pytest.fixture
def quick(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    """Run `lab` in this process: for the many ways to be refused, which need no start-up each."""

    def run(*words: str) -> Result:
        monkeypatch.setattr("sys.argv", ["lab", *words])
        monkeypatch.setenv("LAB_HOME", str(lab.home.path))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Result(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Other]:
    """Offer a home for a lab that does not exist yet, and clear away whatever a test made of it.

    Its network is one from the far end, so that a reader can start a lab of their own meanwhile.
    """
    home = Home(tmp_path / "lab")
    prefix = description()["networks"]["local"].rpartition(".")[0]
    network = next(
        name for name in (f"{prefix}.{n}" for n in range(250, 200, -1)) if networks.holder(name) is None
    )
    home.path.mkdir(mode=0o700)
    write_private(home.path / "lab.json", json.dumps({"driver": "local", "network": network}))
    write_private(networks.claims_folder() / network, str(home.path))
    yield Other(home)
    finish(begin("down", "--purge", home=home.path))
    left = strays.find(home.path)
    strays.end(left)
    networks.release(home)
    assert not left, f"`lab down --purge` left {left}"
