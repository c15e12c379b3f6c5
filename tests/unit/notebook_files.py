"""The committed notebooks, as the tests read them: cells, links, tags."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]-*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("*.py"))

FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)


@cache
def read(path: Path) -> Any:
    """Return a notebook, read once."""
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[Any]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def prose(path: Path) -> str:
    """Return the Markdown of a notebook (or of a Markdown file) without its fenced code."""
    if path.suffix == ".ipynb":
        text = "\n\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return FENCE.sub("", text)


def headings(path: Path) -> list[str]:
    return re.findall(r"^#{1,4} (.+?)\s*$", prose(path), re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the anchor that a code host gives a heading."""
    bare = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", bare))


def tags(cell: Any) -> list[str]:
    return list(cell.metadata.get("tags", []))


def lines(cell: Any) -> list[str]:
    """Return the lines of code that a reader reads: neither blank nor a comment alone."""
    found = cell.source.splitlines()
    return [line for line in found if line.strip() and not line.strip().startswith("#")]


def output_text(cell: Any) -> str:
    """Return everything readable that a cell put out."""
    parts = []
    for output in cell.get("outputs", []):
        parts.append(output.get("text", ""))
        parts.append("\n".join(output.get("traceback", [])))
        for kind, data in output.get("data", {}).items():
            if kind.startswith("text/"):
                parts.append(data)
    return "\n".join(parts)
