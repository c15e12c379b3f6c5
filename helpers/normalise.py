"""Bring notebooks into the one form in which they are committed.

    python -m helpers.normalise [--execute] [--check] notebooks/*.ipynb

The folded solutions are written anew from their files, so that the two cannot differ.

What goes: execution timestamps, the kernel's and the editor's own metadata, the exact Python
version. What stays: cell ids, tags, outputs, alternative texts. Prompts count from 1. The same
notebook normalised twice is the same file, so a diff shows what an author changed.
"""

from __future__ import annotations

import base64
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import nbformat
import typer

from helpers.errors import LabError
from helpers.execution import run_notebook

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
FIGURE_LIMIT = 100_000  # bytes; a page of ten figures still opens at once on a code host
KEPT_CELL_METADATA = ("tags",)
KEPT_OUTPUT_METADATA = ("image/png",)


def normalised(notebook: Any) -> Any:
    """Return a normalised copy of a notebook node; raises `LabError` on a figure over the limit."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    taken: set[str] = set()
    prompt = 0
    for position, cell in enumerate(notebook.cells):
        cell.id = _cell_id(cell.get("id"), position, taken)
        kept = {key: cell.metadata[key] for key in KEPT_CELL_METADATA if cell.metadata.get(key)}
        cell.metadata = nbformat.from_dict(kept)
        cell.source = "\n".join(line.rstrip() for line in cell.source.rstrip().split("\n"))
        cell.pop("attachments", None)
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            prompt += 1
            cell.execution_count = prompt
        cell.outputs = [_output(output, prompt, cell.id) for output in _merged(cell.outputs)]
    return notebook


def figures(notebook: Any) -> list[tuple[str, int, str | None]]:
    """Return (cell id, bytes, alternative text) of every PNG among the outputs."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture is not None:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt")
                found.append((cell.id, len(base64.b64decode(picture)), alt))
    return found


def folded(number: str, solutions: Path) -> str:
    """Return the Markdown of an exercise's folded solution, made from its file.

    Raises `LabError` unless the folder has exactly one file for the number.
    """
    chapter, item = number.split(".")
    pattern = f"{int(chapter):02d}-{item}-*.py"
    found = sorted(solutions.glob(pattern))
    if len(found) != 1:
        raise LabError(f"Exercise {number} needs one file solutions/{pattern}, and there are {len(found)}.")
    code = found[0].read_text(encoding="utf-8").strip()
    link = f"[solutions/{found[0].name}](solutions/{found[0].name})"
    return (
        f"<details><summary>Solution of {number}</summary>\n\n"
        f"The file {link}:\n\n```python\n{code}\n```\n\n</details>"
    )


def refold(notebook: Any, solutions: Path) -> Any:
    """Write every folded solution of a notebook anew, in place; return the notebook."""
    for cell in notebook.cells:
        heading = re.match(r"<details><summary>Solution of (\d+\.\d+)</summary>", cell.source)
        if cell.cell_type == "markdown" and heading:
            cell.source = folded(heading[1], solutions)
    return notebook


def _cell_id(found: str | None, position: int, taken: set[str]) -> str:
    """Return a valid id that no earlier cell has; a good one is kept as it is."""
    base = found if found and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found) else f"cell-{position}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base[:60]}-{number}"
    taken.add(name)
    return name


def _merged(outputs: list[Any]) -> list[Any]:
    """Join neighbouring pieces of one stream: how they were cut is chance."""
    merged: list[Any] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if (
            last is not None
            and output.output_type == last.output_type == "stream"
            and output.name == last.name
        ):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def _output(output: Any, prompt: int, cell_id: str) -> Any:
    if output.output_type == "execute_result":
        output.execution_count = prompt
    if "metadata" in output:
        kept = {k: output.metadata[k] for k in KEPT_OUTPUT_METADATA if k in output.metadata}
        output.metadata = nbformat.from_dict(kept)
    picture = output.get("data", {}).get("image/png")
    if picture is not None:
        size = len(base64.b64decode(picture))
        if size >= FIGURE_LIMIT:
            raise LabError(
                f"The figure of cell {cell_id!r} has {size} bytes; {FIGURE_LIMIT} are allowed: "
                f"lower its dpi or its size."
            )
        # Jupyter writes the newline at the end or not, depending on who wrote last.
        output.data["image/png"] = picture.strip() + "\n"
    return output


def text(notebook: Any) -> str:
    """Return a notebook as the text of its file."""
    return str(nbformat.writes(notebook)).rstrip("\n") + "\n"


def parsed(content: str) -> Any:
    """Return a notebook from the text of its file; `LabError` when it is none."""
    try:
        notebook = nbformat.reads(content, as_version=4)
        nbformat.validate(notebook)
    except Exception as error:
        # nbformat raises whatever the damage leads to: its own errors, TypeError, KeyError.
        reason = str(error).partition("\n")[0]
        raise LabError(f"This is not a notebook ({reason}).") from None
    return notebook


def execute(path: Path) -> Any:
    """Run a notebook top to bottom in its folder; `LabError` names the cell that fails."""
    outcome = run_notebook(path)
    if outcome.failure is not None:
        raise LabError(outcome.failure)
    return outcome.notebook


def main(
    paths: Annotated[list[Path], typer.Argument(help="The notebooks.")],
    run: Annotated[bool, typer.Option("--execute", help="Run each one first.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when one would change.")
    ] = False,
) -> None:
    """Normalise notebooks in place, on request after running them on the lab."""
    differing = []
    for path in paths:
        try:
            if not path.is_file():
                raise LabError(f"There is no notebook {path}.")
            found = path.read_text(encoding="utf-8")
            notebook = parsed(found)
            if run:
                notebook = execute(path)
            wanted = text(refold(normalised(notebook), path.parent / "solutions"))
        except LabError as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        if wanted == found:
            print(f"{path.name}: as it should be")
        elif check:
            differing.append(path.name)
        else:
            path.write_text(wanted, encoding="utf-8")
            print(f"{path.name}: normalised")
    if differing:
        print(f"Not normalised: {', '.join(differing)}. Run this without --check.", file=sys.stderr)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
