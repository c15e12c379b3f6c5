"""A command ends in one sentence: after Ctrl-C, also where Python would drop it, and when a server fails."""

from __future__ import annotations

import subprocess
import sys
from typing import NoReturn

import hvac
import pytest
import requests

from helpers import cli

# A command during which a finalizer runs at the moment of the interrupt, or nothing does.
PROGRAM = """
import os, signal, time, weakref
from helpers import cli

class Thing: pass

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.01)

def app(prog_name):
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


@pytest.mark.parametrize(
    "error",
    [requests.ConnectionError("refused\n by it"), hvac.exceptions.InternalServerError("no"), OSError("full")],
)
def test_a_server_that_fails_in_the_middle(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith(f"A server of the lab failed in the middle of this ({type(error).__name__}: ")


EARLY = """
import os, signal, sys

class Slow:
    def find_spec(self, name, *_):
        if name == "hvac":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Slow())
from helpers import entry
entry.main()
"""


def test_interrupt_of_the_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", EARLY], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Interrupted before anything was done.\n"


def test_what_the_library_offers_is_imported_when_it_is_asked_for() -> None:
    import helpers

    assert all(getattr(helpers, name) is not None for name in dir(helpers))
    with pytest.raises(AttributeError, match="no attribute 'Cluster'"):
        helpers.Cluster  # noqa: B018
