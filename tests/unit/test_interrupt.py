"""Ctrl-C ends a command in one sentence, also where Python would drop it."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A command during which a finalizer runs at the moment of the interrupt, or nothing does.
PROGRAM = """
import os, signal, time, weakref
from helpers import cli

class Thing: pass

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

def app():
    thing = Thing()
    try:
        {moment}
        time.sleep(10)
    except KeyboardInterrupt:
        raise SystemExit(130)  # as typer does

cli.app = app
cli.main()
"""


@pytest.mark.parametrize("moment", ["weakref.finalize(thing, interrupt); del thing", "interrupt()"])
def test_interrupt(moment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(moment=moment)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Interrupted; `lab heal` repairs what was left half done.\n"
