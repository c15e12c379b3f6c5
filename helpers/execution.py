"""Run a notebook top to bottom in a fresh kernel: for the report and for committed outputs."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

CLEANUP = "cleanup"
# A cell's ceiling in seconds: the slowest experiment watches a cluster for about 90 s, and a
# machine under load may take twice that. conftest.py uses the same number.
CELL_TIMEOUT = 240
ANSI = re.compile(r"\x1b\[[0-9;]*m")

Progress = Callable[[int, int], None]


@dataclass
class Outcome:
    """What became of one notebook: its cells with their outputs, how long, and what failed."""

    path: Path
    notebook: Any
    seconds: float
    failure: str | None = None
    details: str = ""
    recorded: float = 0.0  # seconds of experiments: what the protocols and the steady state made it wait

    @property
    def name(self) -> str:
        """The notebook's name without its ending."""
        return self.path.stem


def environment() -> dict[str, str]:
    """Return the kernel's environment: progress is written as plain lines, nothing flickers."""
    scripts = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    return {
        **os.environ,
        "CI": "1",
        "PATH": path if scripts in path.split(os.pathsep) else scripts + os.pathsep + path,
    }


def run_notebook(path: Path, progress: Progress | None = None) -> Outcome:
    """Run every code cell; after one that fails, only those tagged `cleanup` still run.

    `progress` is told (cells done, cells in all) before each cell. Outputs of an earlier run
    are dropped first. Takes as long as the notebook; a cell is stopped after `CELL_TIMEOUT`.
    """
    notebook = nbformat.read(path, as_version=4)
    cells = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    for _, cell in cells:
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        record_timing=False,
    )
    outcome = Outcome(path, notebook, seconds=0.0)
    began = time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as complaints,
        client.setup_kernel(env=environment(), stderr=complaints),
    ):
        for done, (index, cell) in enumerate(cells):
            if progress is not None:
                progress(done, len(cells))
            if outcome.failure is not None and CLEANUP not in cell.metadata.get("tags", []):
                continue
            try:
                client.execute_cell(cell, index)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                if outcome.failure is None:
                    outcome.failure = f"cell {cell.id!r} failed: {_sentence(error)}"
                    outcome.details = ANSI.sub("", str(error))
                if isinstance(error, DeadKernelError):
                    complaints.seek(0)
                    outcome.details += "\n" + complaints.read()[-4000:]
                    break
    outcome.seconds = time.monotonic() - began
    return outcome


def _sentence(error: Exception) -> str:
    """Say in one line what went wrong in a cell."""
    if isinstance(error, CellExecutionError):
        return f"{error.ename}: {ANSI.sub('', str(error.evalue))}"
    if isinstance(error, DeadKernelError):
        return "its kernel died."
    return f"it took longer than {CELL_TIMEOUT} s."
