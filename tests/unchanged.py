"""What the tests of the other drivers share: the same experiments, the same notebook files, unchanged."""

from __future__ import annotations

import subprocess
import sys

from helpers import Lab
from helpers.experiment import Run
from helpers.topology import REPOSITORY


def experiment(lab: Lab, fault: str, target: str, seconds: float) -> Run:
    """Record one fault for some seconds and demand that everything that has a bound lies in it."""
    with lab.record(f"{target}: {fault}") as run:
        run.steady(4)
        run.inject(fault, target)
        run.observe(seconds)
    assert str(run.verdict()) == "held", run.table().to_string()
    return run


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
