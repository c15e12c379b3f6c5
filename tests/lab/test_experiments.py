"""An experiment ends healed, whatever happens to the notebook in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import Lab
from helpers.errors import LabError
from helpers.experiment import Run
from helpers.recording import RECORDER
from helpers.topology import Target
from helpers.waiting import until

TODO0 = Target("todo0", "todo")
#: A notebook's cell, as a process of its own: it says when the fault is in, then waits.
SCRIPT = """
from helpers import Lab
lab = Lab.at("deployed")
with lab.record("interrupted") as run:
    run.steady(1)
    run.inject("kill", "todo0")
    print("injected", flush=True)
    run.observe(60)
"""


def test_a_run_holds_what_it_measured(lab: Lab) -> None:
    with lab.record("todo0 is killed", predict={"detected": 3}) as run:
        run.steady(4)
        run.inject("kill", "todo0")
        run.observe(until="detected", at_most=8)
    found = run.records
    assert found is not None
    phases = list(found.events["phase"])
    assert phases == ["steady", "inject", "heal", "steady"]
    assert (found.events["t_begin"] <= found.events["t_end"]).all()
    table = run.table().set_index("time")
    assert set(table.loc[table["allowed"] != "–", "verdict"]) == {"held"}, run.verdict().reason
    assert str(run.verdict()) == "held"
    assert lab.state == "deployed"
    assert lab.driver.pid(RECORDER) is None


def test_a_run_that_is_cut_short_has_not_enough_data(lab: Lab) -> None:
    with lab.record("cut short") as run:
        run.inject("kill", "todo0")
    assert str(run.verdict()) == "not enough data"


def test_what_a_run_showed_is_refused_before_its_end(lab: Lab) -> None:
    run: Run = lab.record("not begun")
    with pytest.raises(Exception, match="leave the `with` first"):
        run.verdict()


def notebook(lab: Lab) -> subprocess.Popen[str]:
    """Start the script on this lab and return it when the fault is in."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "LAB_HOME": str(lab.home.path)},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("injected"):
            return process
    raise AssertionError(process.stderr.read() if process.stderr else "no output")


def test_an_interrupted_cell_heals(lab: Lab) -> None:
    process = notebook(lab)
    assert lab.driver.state(TODO0) == "stopped"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert lab.driver.state(TODO0) == "running"
    assert lab.driver.pid(RECORDER) is None
    assert lab.state == "deployed"


def test_another_notebook_does_not_end_a_living_ones_recording(lab: Lab) -> None:
    process = notebook(lab)
    recorder = lab.driver.pid(RECORDER)
    with (
        pytest.raises(LabError, match=rf"process {process.pid}\) records an experiment"),
        lab.record("second"),
    ):
        pass
    assert lab.driver.pid(RECORDER) == recorder
    assert lab.driver.state(TODO0) == "stopped", "the first one's fault is not healed under it"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert lab.state == "deployed"


def test_the_next_notebook_heals_after_a_dead_kernel(lab: Lab) -> None:
    process = notebook(lab)
    process.kill()
    process.communicate(timeout=10)
    assert lab.driver.state(TODO0) == "stopped"
    assert lab.driver.pid(RECORDER) is not None, "the recorder is a process of its own"
    lab.reach("deployed")
    assert lab.state == "deployed"
    until(lambda: lab.driver.pid(RECORDER) is None, "The end of the orphaned recorder", 5)
