"""Notebooks run for the report: order, failures, the page. Kernels are real, the lab is not needed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_files import NOTEBOOKS

from helpers import report
from helpers.errors import LabError
from helpers.execution import Outcome, run_notebook

DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = f"""\
from base64 import b64decode
from IPython.display import Image, display
display(Image(b64decode("{DOT}")), metadata={{"image/png": {{"alt": "one <dot>"}}}})
"""


def write(folder: Path, name: str, *cells: nbformat.NotebookNode) -> Path:
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name} · Title"), *cells]), path)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "lab"))
    (tmp_path / "lab" / "logs").mkdir(parents=True)
    (tmp_path / "lab" / "logs" / "todo0-todo.log").write_text("a line\n")
    write(tmp_path, "00-first", new_code_cell(PICTURE), new_markdown_cell("[on](01-second.ipynb)"))
    write(
        tmp_path,
        "01-second",
        new_code_cell("print('before')"),
        new_code_cell("raise ValueError('the <lab> is away')", id="falls"),
        new_code_cell("print('never')"),
        new_code_cell("print('cleaned up')", metadata={"tags": ["cleanup"]}),
    )
    return tmp_path


def test_names_choose_notebooks_in_their_order(folder: Path) -> None:
    every = report.chosen([], folder)
    assert [p.stem for p in every] == ["00-first", "01-second"]
    assert report.chosen(["01", "00-f"], folder) == every
    assert report.chosen(["01-second.ipynb"], folder) == every[1:]
    with pytest.raises(LabError, match="No notebook begins with '07'; there are 00-first"):
        report.chosen(["07"], folder)
    with pytest.raises(LabError, match="There is no notebook in"):
        report.chosen([], folder / "lab")


def test_after_a_failure_only_cleanup_runs(folder: Path) -> None:
    outcome = run_notebook(folder / "01-second.ipynb")
    printed = [o.get("text", "") for c in outcome.notebook.cells for o in c.get("outputs", [])]
    assert outcome.failure == "cell 'falls' failed: ValueError: the <lab> is away"
    assert "cleaned up\n" in printed
    assert "never\n" not in printed


def test_a_dead_kernel_is_noticed_at_once(folder: Path) -> None:
    path = write(folder, "04-dies", new_code_cell("import os; os._exit(1)"), new_code_cell("1"))
    outcome = run_notebook(path)
    assert outcome.failure is not None
    assert outcome.failure.endswith("its kernel died.")
    assert outcome.seconds < 60  # nbclient looks every few seconds; the cell's own limit is minutes


def test_one_failure_does_not_stop_the_rest(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, "02-third", new_code_cell("1"))
    out = folder / "out"
    outcomes = report.run_all(report.chosen([], folder), out)
    assert [bool(o.failure) for o in outcomes] == [False, True, False]
    assert all(0 < o.seconds < 60 for o in outcomes)  # a kernel takes about a second to start
    assert sorted(p.name for p in out.glob("*.ipynb")) == [
        "00-first.ipynb",
        "01-second.ipynb",
        "02-third.ipynb",
    ]
    assert "ValueError" in (out / "logs" / "01-second" / "cell.txt").read_text()
    assert (out / "logs" / "01-second" / "lab" / "todo0-todo.log").read_text() == "a line\n"
    assert not (out / "logs" / "00-first").exists()

    html = report.page(outcomes, datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
    assert "3 notebooks on a real lab" in html
    assert "1 failed." in html
    assert 'href="#01-second"' in html, "links between notebooks stay on the page"
    assert 'alt="one &lt;dot&gt;"' in html
    assert "the &lt;lab&gt; is away" in html
    assert "the <lab> is away" not in html
    assert "<script" not in html
    assert 'src="http' not in html, "the page stands alone"
    assert "<link" not in html


def test_every_link_of_the_page_leads_somewhere() -> None:
    """The committed notebooks as a report: nothing is run."""
    outcomes = [Outcome(path, nbformat.read(path, as_version=4), 1.0) for path in NOTEBOOKS]
    html = report.page(outcomes, datetime(2026, 1, 2, tzinfo=UTC))
    links = re.findall(r'href="([^"]*)"', html)
    places = re.findall(r'\bid="([^"]*)"', html)
    assert [link for link in links if not link.startswith(("#", "https://"))] == []
    assert {link[1:] for link in links if link.startswith("#")} - set(places) == set()
    assert "glossary--lease" in places


def test_the_lab_is_told_not_to_flicker(folder: Path, tmp_path: Path) -> None:
    path = write(folder, "03-env", new_code_cell("import os; print(os.environ['CI'])"))
    outcome = run_notebook(path)
    assert outcome.notebook.cells[1].outputs[0].text == "1\n"
