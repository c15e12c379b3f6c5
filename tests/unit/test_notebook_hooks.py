"""The repository's conftest.py at work: pytest runs small notebooks in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook, new_output
from notebook_files import REPOSITORY

CHECKED = {"tags": ["nbval-check-output"]}


def printed(source: str, text: str, **more: object) -> nbformat.NotebookNode:
    """Return a cell with the output it is said to have had."""
    return new_code_cell(
        source, execution_count=1, outputs=[new_output("stream", name="stdout", text=text)], **more
    )


def run(folder: Path, *cells: nbformat.NotebookNode) -> tuple[int, str]:
    """Test a notebook as `make test` does; return pytest's exit code and what it said."""
    path = folder / "99-trial.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    words = ["-p", "conftest", "--nbval-lax", "--nbval-current-env", "-q", "-rs", "-v"]
    sanitize = ["--nbval-sanitize-with", "tests/sanitize.cfg"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *sanitize, str(path)],
        cwd=REPOSITORY,
        env={**os.environ, "LAB_HOME": str(folder / "lab")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_failing_cell_skips_the_rest_but_cleanup(tmp_path: Path) -> None:
    code, said = run(
        tmp_path,
        printed("print('held')", "held\n", metadata=CHECKED),
        printed("print('broken')", "held\n", metadata=CHECKED),
        new_code_cell(f"open({str(tmp_path / 'never')!r}, 'w').close()"),
        new_code_cell(f"open({str(tmp_path / 'cleaned')!r}, 'w').close()", metadata={"tags": ["cleanup"]}),
    )
    assert code == 1
    assert "1 failed, 2 passed, 1 skipped" in said
    assert "Cell 1 of this notebook failed before" in said
    assert (tmp_path / "cleaned").exists()
    assert not (tmp_path / "never").exists()


def test_what_is_not_compared(tmp_path: Path) -> None:
    table = new_output(
        "execute_result",
        data={"text/plain": "<IPython.core.display.HTML object>", "text/html": "<b>1</b>"},
        execution_count=1,
    )
    code, said = run(
        tmp_path,
        printed("print('an output that nobody checks')", "held\n"),
        printed("print('held after 3.2 s')", "held after 0.1 s\n", metadata=CHECKED),
        printed("import sys; print('held'); print('late', file=sys.stderr)", "held\n", metadata=CHECKED),
        new_code_cell(
            "from IPython.display import HTML; HTML('<b>2</b>')",
            execution_count=1,
            metadata=CHECKED,
            outputs=[table],
        ),
        new_code_cell("import os; assert os.environ['CI'] == '1'"),
    )
    assert code == 0, said
    assert "5 passed" in said
