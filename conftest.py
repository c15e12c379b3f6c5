"""How the tests run, the notebooks among them.

Notebooks are tested by

    pytest --nbval-lax --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg \
           --nbval-cell-timeout=240 notebooks

Every cell must run; the outputs of cells tagged `nbval-check-output` (the verdicts) must equal
the committed ones. Everything else that a lab prints holds times and so is not compared.

This file stands at the root because pytest applies a conftest.py to the files below it, and the
notebooks are not below tests/.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers.execution import CELL_TIMEOUT, CLEANUP, environment
from helpers.home import Home

REPOSITORY = Path(__file__).resolve().parent
TEST_HOME = REPOSITORY / ".lab-test"


def pytest_configure(config: pytest.Config) -> None:
    """Give the kernels their environment: nbval passes on that of this process.

    Without a LAB_HOME of its own the run uses a lab beside the reader's, which it must not touch.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what runs in its background deaf to Ctrl-C, and the tests' own processes would
        # inherit that: then nothing that a test interrupts would hear it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment())
    os.environ.setdefault("LAB_HOME", str(TEST_HOME))
    config.stash[_FAILED] = {}
    if getattr(config.option, "nbval_cell_timeout", None) == 2000:  # nbval's own default
        config.option.nbval_cell_timeout = float(CELL_TIMEOUT)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave out what is never the same twice: warnings, and tables in their HTML form.

    Only nbval's collectors have `skip_compare`.
    """
    if hasattr(collector, "skip_compare"):
        collector.skip_compare = (*collector.skip_compare, "stderr", "text/html")


_FAILED = pytest.StashKey[dict[str, str]]()


def _cell(item: pytest.Item) -> Any | None:
    """Return the notebook cell of a test item, or None for an ordinary test."""
    return getattr(item, "cell", None)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Remember the first cell of each notebook that failed."""
    outcome = yield
    report = outcome.get_result()
    if _cell(item) is not None and report.when == "call" and report.failed:
        item.config.stash[_FAILED].setdefault(str(item.path), item.name)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the rest of a notebook after a failing cell, except what cleans up.

    nbval would go on, and inject faults into a lab that is only half built.
    """
    cell = _cell(item)
    failed = item.config.stash[_FAILED].get(str(item.path))
    if cell is not None and failed and CLEANUP not in cell.metadata.get("tags", []):
        pytest.skip(f"{failed} of this notebook failed before")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Leave no lab of the tests running; after a failure its logs stay, and where is said."""
    if hasattr(session.config, "workerinput") or os.environ["LAB_HOME"] != str(TEST_HOME):
        return  # an xdist worker, or a home that the caller chose and looks after
    used = any(_cell(item) or "lab" in getattr(item, "fixturenames", ()) for item in session.items)
    if not used or not Home(TEST_HOME).exists:
        return  # tests without a lab must not end the one that others are using meanwhile
    failed = exitstatus != pytest.ExitCode.OK
    if failed:
        _keep_logs()
    subprocess.run(
        [sys.executable, "-m", "helpers.cli", "down", *([] if failed else ["--purge"])],
        check=False,
        timeout=120,
    )


def _keep_logs() -> None:
    kept = REPOSITORY / "out" / "logs" / "tests"
    found = TEST_HOME / "logs"
    if found.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(found, kept)
        print(f"\nThe lab's logs of this run: {kept}")
