"""Run every notebook on a real lab and write one HTML page that shows all of it.

    python -m helpers.report [NAME…]

A NAME is a notebook's number or the beginning of its name (`01`, `03-build`). The page,
`out/report.html`, stands alone: an index with each notebook's duration and verdict, its figures,
then the notebooks with their outputs. `out/` also keeps the executed notebooks and, of those
that failed, the log of the failing cell and the lab's own logs.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import jinja2
import nbformat
import typer
from markupsafe import Markup
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
from rich.console import Console

from helpers import records
from helpers.errors import LabError
from helpers.execution import Outcome, run_notebook
from helpers.home import Home
from helpers.lab import Lab
from helpers.topology import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"
OUT = REPOSITORY / "out"
TEMPLATE = Path(__file__).with_name("report.html.j2")

console = Console()


def chosen(names: list[str], folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the notebooks that the names mean, all of them for no name, in their order.

    Raises `LabError` for a name that fits none.
    """
    known = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not known:
        raise LabError(f"There is no notebook in {folder}.")
    found: list[Path] = []
    for name in names:
        fitting = [path for path in known if path.name.startswith(Path(name).stem)]
        if not fitting:
            listed = ", ".join(path.stem for path in known)
            raise LabError(f"No notebook begins with {name!r}; there are {listed}.")
        found += fitting
    return sorted(set(found)) if names else known


def pictures(outcome: Outcome) -> list[dict[str, str]]:
    """Return the figures of a notebook: their data, alternative text and the cell they are from."""
    found = []
    for cell in outcome.notebook.cells:
        for output in cell.get("outputs", []):
            png = output.get("data", {}).get("image/png")
            if png is not None:
                meta = output.get("metadata", {}).get("image/png", {})
                found.append({"png": png.strip(), "alt": meta.get("alt", ""), "cell": cell.id})
    return found


def title(notebook: Any) -> str:
    """Return the heading of a notebook's first cell."""
    first = notebook.cells[0].source if notebook.cells else ""
    heading = re.search(r"^# (.+)$", first, re.MULTILINE)
    return heading[1] if heading else "untitled"


def anchor(heading: str) -> str:
    """Return the anchor that code hosts give a heading, from its HTML."""
    text = html.unescape(re.sub(r"<[^>]+>", "", heading)).strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", text))


def placed(body: str, name: str) -> Markup:
    """Return a notebook's or a text's HTML with anchors of its own and links that stay on the page.

    `body` comes from nbconvert, which has escaped and cleaned it.
    """
    body = re.sub(r'<a class="anchor-link".*?</a>', "", body)
    body = re.sub(r' id="[^"]*"', "", body)
    body = re.sub(
        r"<h([1-6])[^>]*>(.*?)</h\1>",
        lambda found: f'<h{found[1]} id="{name}--{anchor(found[2])}">{found[2]}</h{found[1]}>',
        body,
        flags=re.DOTALL,
    )
    body = re.sub(r'<a href="solutions/[^"]*">(.*?)</a>', r"\1", body)  # its text is folded below
    body = re.sub(r'href="#([^"]+)"', rf'href="#{name}--\1"', body)
    body = re.sub(r'href="([\w-]+)\.(?:ipynb|md)#([^"]+)"', r'href="#\1--\2"', body)
    return Markup(re.sub(r'href="([\w-]+)\.(?:ipynb|md)"', r'href="#\1"', body))


def texts() -> list[dict[str, Any]]:
    """Return the texts that the notebooks link to, as sections of the page."""
    found = []
    for name in ("glossary", "troubleshooting"):
        body = markdown2html((NOTEBOOKS / f"{name}.md").read_text(encoding="utf-8"))
        found.append({"name": name, "body": placed(body, name)})
    return found


def page(outcomes: list[Outcome], when: datetime) -> str:
    """Return the report as HTML that needs no other file."""
    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True)
    exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    entries = []
    for outcome in outcomes:
        body, _ = exporter.from_notebook_node(outcome.notebook)
        entries.append(
            {
                "outcome": outcome,
                "title": title(outcome.notebook),
                "figures": pictures(outcome),
                "body": placed(body, outcome.name),
            }
        )
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(TEMPLATE.read_text()).render(
        entries=entries,
        texts=texts(),
        when=when.strftime("%Y-%m-%d %H:%M UTC"),
        total=sum(outcome.seconds for outcome in outcomes),
        failed=[outcome for outcome in outcomes if outcome.failure],
        code_style=Markup(HtmlFormatter(style="friendly").get_style_defs(".highlight")),
    )


def keep(outcome: Outcome, out: Path) -> None:
    """Write an executed notebook and, when it failed, what helps to find out why."""
    nbformat.write(outcome.notebook, out / outcome.path.name)
    logs = out / "logs" / outcome.name
    shutil.rmtree(logs, ignore_errors=True)
    if outcome.failure is not None:
        logs.mkdir(parents=True)
        (logs / "cell.txt").write_text(outcome.details + "\n")
        lab_logs = Home.locate().path / "logs"
        if lab_logs.is_dir():
            shutil.copytree(lab_logs, logs / "lab")


def runs() -> list[Path]:
    """Return the folders of the lab's recorded runs."""
    return sorted((Home.locate().path / "runs").glob("*/"))


def length(run: Path) -> float:
    """Return how long a run was recorded, in seconds: its last event ends with it."""
    return float(records.read(run).events["t_end"].max())


def run_all(paths: list[Path], out: Path) -> list[Outcome]:
    """Run the notebooks one after the other; one that fails does not stop the rest.

    Raises `LabError` when `out` cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.html").touch()
    except OSError as error:
        raise LabError(f"The report cannot be written to {out} ({error.strerror}).") from None
    outcomes = []
    for number, path in enumerate(paths, 1):
        label = f"[{number}/{len(paths)}] {path.stem}"
        with console.status(label) as status:
            if not console.is_terminal:
                console.print(label, markup=False)

            def progress(done: int, cells: int, status: Any = status, label: str = label) -> None:
                status.update(f"{label}: cell {done + 1} of {cells}")

            before = set(runs())
            outcome = run_notebook(path, progress)
            outcome.recorded = sum(length(run) for run in runs() if run not in before)
        outcomes.append(outcome)
        keep(outcome, out)
        verdict = f"failed: {outcome.failure}" if outcome.failure else "ran"
        took = f"{outcome.seconds:.0f} s, {outcome.recorded:.0f} s of them recorded"
        console.print(f"{label}: {verdict}, {took}", markup=False, soft_wrap=True)
    return outcomes


def _running() -> bool:
    """Tell whether the lab of this run is up, without making one."""
    return Home.locate().exists and Lab.open().driver.alive


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Numbers or names; default all.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the report.")] = OUT,
) -> None:
    """Run notebooks on the lab and write out/report.html; a lab that was down is down afterwards."""
    try:
        paths = chosen(names or [])
    except LabError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    was_running = _running()
    try:
        outcomes = run_all(paths, out)
    except LabError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        if not was_running and _running():
            Lab.open(console.print).down()
    report = out / "report.html"
    report.write_text(page(outcomes, datetime.now(UTC)), encoding="utf-8")
    console.print(f"The report: {report}", soft_wrap=True)
    if any(outcome.failure for outcome in outcomes):
        print(f"Not every notebook ran; logs are in {out / 'logs'}.", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
