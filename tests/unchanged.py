"""What the tests of the other drivers share: the same experiments, the same notebook files, unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from helpers import Lab, LabError, faults
from helpers.experiment import Run
from helpers.faults import FAULTS
from helpers.topology import LAB_DATA, REPOSITORY
from helpers.waiting import until


@contextmanager
def deployed(home: Path, *boot: str, **variables: str) -> Iterator[Lab]:
    """Offer a deployed lab of a home and a driver of its own; nothing of its home is left.

    `boot` is a command for the folder lab/ that comes first.
    """
    os.environ.update(LAB_HOME=str(home), **variables)
    lab = Lab.open()
    try:
        if boot:
            done = subprocess.run(boot, cwd=LAB_DATA, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        lab.reach("deployed")
        yield lab
    finally:
        lab.down(purge=True)
    assert not home.exists()


def experiment(lab: Lab, fault: str, target: str, seconds: float) -> Run:
    """Record one fault for some seconds and demand that everything that has a bound lies in it."""
    with lab.record(f"{target}: {fault}") as run:
        run.steady(4)
        run.inject(fault, target)
        run.observe(seconds)
    assert str(run.verdict()) == "held", run.table().to_string()
    return run


def process_of_todo(lab: Lab) -> None:
    """Ask the operating system of todo0's node about todo0, and about one that does not run."""
    target = lab.topology.target("todo0:todo")
    found = lab.driver.process(target)
    assert found.command[1:] == ["-m", "todo"]
    assert found.environment["TODO_NAME"] == "todo0"
    assert found.listening == [lab.topology.ports["todo"]]
    spare = lab.topology.target("todo2:todo")
    with pytest.raises(LabError, match="todo2:todo does not run"):
        lab.driver.process(spare)


def cut_from_mysql(lab: Lab, todo: str) -> None:
    """Cut a todo off from its database alone: this machine reaches it, and it says what it lacks."""
    url = f"http://{lab.topology[todo].address}:{lab.topology.ports['todo']}/todo"
    plan = faults.plan(lab, "partition", f"{todo}/mysql")
    assert plan.peers == ("mysql",)
    FAULTS["partition"].inject(lab, plan)
    try:
        assert requests.get(url, timeout=5).status_code == 503, "without MySQL it says so"
        consul = lab.topology.server.name
        alive = {member["Name"]: member["Status"] for member in lab.consul(consul).agent.members()}
        assert alive[todo] == 1, "nobody else is cut off from it"
    finally:
        FAULTS["partition"].heal(lab, plan)
    until(lambda: requests.get(url, timeout=5).status_code == 200, f"{todo} after the mending", 15)


def notebook(name: str) -> None:
    """Test a notebook as `make test` does, on the lab of the environment's LAB_HOME and LAB_DRIVER."""
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=240", "-q"]
    rules = ["--nbval-sanitize-with", "tests/sanitize.cfg"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *rules, f"notebooks/{name}.ipynb"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]
