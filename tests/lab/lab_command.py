"""Running the `lab` command as a reader does, and what its labs leave behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from helpers.drivers import strays
from helpers.home import Home
from helpers.lab import Lab
from helpers.topology import REPOSITORY, Target

PATIENCE = 60.0  # seconds for any command: `lab up` takes under ten, a lock never given back 45


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str


def lab_program() -> str:
    """Return the console script as a reader types it, of the environment that runs the tests."""
    beside = Path(sys.executable).parent / "lab"
    found = str(beside) if beside.exists() else shutil.which("lab")
    assert found, "The command `lab` is not installed: make setup."
    return found


def begin(*words: str, home: Path, **variables: str) -> subprocess.Popen[str]:
    """Start `lab WORDS` for a home, in a process group of its own that a Ctrl-C can be sent to."""
    return subprocess.Popen(
        [lab_program(), *words],
        env={**os.environ, "LAB_HOME": str(home), "COLUMNS": "200", **variables},
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str], at_most: float = PATIENCE) -> Result:
    """Wait for a command; one that does not end in time is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=at_most)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        pytest.fail(f"{process.args} did not end within {at_most:g} s.\n{out}\n{err}")
    return Result(process.returncode, out, err)


def sentence(result: Result, code: int = 1) -> str:
    """Return the one clear sentence that a command failed with."""
    assert result.code == code, result
    assert "Traceback" not in result.err + result.out
    text = result.err.strip()
    assert text.count("\n") == 0, f"more than a sentence: {text}"
    assert len(text) > 20, text
    assert text.endswith("."), text
    return text


@dataclass(frozen=True)
class Other:
    """A second lab, in a folder of its own."""

    home: Home

    def run(self, *words: str, at_most: float = PATIENCE) -> Result:
        """Run `lab` on it."""
        return finish(begin(*words, home=self.home.path), at_most)

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start `lab` on it, without waiting."""
        return begin(*words, home=self.home.path)

    def open(self, monkeypatch: pytest.MonkeyPatch, heard: list[str] | None = None) -> Lab:
        """Return it as Python sees it; what it says goes to `heard`."""
        monkeypatch.setenv("LAB_HOME", str(self.home.path))
        return Lab.open((heard if heard is not None else []).append)

    def processes(self) -> list[strays.Stray]:
        """Return every process that bears its mark, its supervisor included."""
        return strays.find(self.home.path)


def tree(lab: Lab) -> list[psutil.Process]:
    """Return every process of a lab: its supervisor and all below."""
    supervisor = lab.driver.supervisor  # type: ignore[attr-defined]
    assert supervisor is not None
    top = psutil.Process(supervisor)
    return [top, *top.children(recursive=True)]


def states(lab: Lab) -> dict[Target, str]:
    """Return what every regular program is: running, paused or stopped."""
    return {
        target: lab.driver.state(target)
        for target in lab.topology.programs()
        if not lab.topology[target.node].spare
    }
