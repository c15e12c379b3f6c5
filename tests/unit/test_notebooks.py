"""The shape of every committed notebook, read from its file: no kernel, no lab."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from notebook_files import (
    FOLDER,
    NOTEBOOKS,
    REPOSITORY,
    SOLUTIONS,
    anchor,
    code,
    headings,
    lines,
    output_text,
    prose,
    read,
    tags,
)

from helpers.exercises import find, unanswered
from helpers.normalise import FIGURE_LIMIT, figures, normalised, text

STATES = {"down", "nodes", "initialized", "unsealed", "configured", "deployed"}
TAGS = {
    "nbval-check-output",
    "nbval-ignore-output",
    "raises-exception",
    "exercise",
    "cleanup",
    "hide-input",
}
CLOSING = ("Exercises", "Recap", "What's next")
SECRETS = {
    "a Vault token": r"\bhv[sbr]\.[A-Za-z0-9_-]{5,}",
    "an old Vault token": r"\bs\.[A-Za-z0-9]{20,}",
    "an unseal key": r"(?<![A-Za-z0-9+/=])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*\d)[A-Za-z0-9+/]{43}=(?!=)",
    "a key in hexadecimal": r"\b[0-9a-f]{64}\b",
    "a password": r"(?i)\bpassword['\"]?\s*[:=]\s*['\"]?(?!None|TOKEN)[A-Za-z0-9-]{12,}",
    "a secret id": r"(?i)secret_id['\"]?\s*[:=]\s*['\"]?[0-9a-f]{8}-[0-9a-f]{4}-",
}
OWN_MACHINE = r"/(?:tmp|root|home|work|Users|private)/[\w.-]+"

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
pages = [*NOTEBOOKS, *sorted(FOLDER.glob("*.md"))]
every_page = pytest.mark.parametrize("path", pages, ids=lambda p: p.name)


def test_the_series_has_no_gap() -> None:
    assert NOTEBOOKS, f"no notebook in {FOLDER}"
    assert [int(p.name[:2]) for p in NOTEBOOKS] == list(range(len(NOTEBOOKS)))


# ---- opening and closing ------------------------------------------------------------------


@every_notebook
def test_title_and_outcome(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    heading, outcome = [b for b in first.source.split("\n\n") if b.strip()][:2]
    assert re.fullmatch(rf"# {path.name[:2]} · \S.+", heading)
    assert re.fullmatch(r"\*[^*]+\.\*", outcome.replace("\n", " ")), "outcome: one *sentence.*"
    assert len(re.findall(r"[.?!](?:\s|\*$)", outcome)) == 1


def objectives(path: Path) -> list[str]:
    """Return the bold words that each objective begins with."""
    return re.findall(r"^- \*\*(.+?)\*\*", read(path).cells[0].source, re.MULTILINE)


@every_notebook
def test_objectives(path: Path) -> None:
    source = read(path).cells[0].source
    assert "**Objectives**" in source
    assert 3 <= len(objectives(path)) <= 5
    assert len(objectives(path)) == len(re.findall(r"^- ", source, re.MULTILINE))


@every_notebook
def test_minutes_and_states(path: Path) -> None:
    table = re.search(
        r"\| Reading \| Machine time \| Lab state expected \| Lab state left \|\n\|[-| ]+\|\n"
        r"\| (\d+) min \| (\d+) min \| (\w+) \| (\w+) \|",
        read(path).cells[0].source,
    )
    assert table, "the table of minutes and states"
    reading, machine, expected, left = table.groups()
    assert 1 <= int(reading) <= 90
    assert 1 <= int(machine) <= 30
    assert expected in STATES | {"any"}
    assert left in STATES


@every_notebook
def test_one_import_cell(path: Path) -> None:
    importing = [
        position
        for position, cell in enumerate(code(path))
        if re.search(r"^(import|from) ", cell.source, re.MULTILINE)
    ]
    assert importing == [0], "imports stand in the first code cell and nowhere else"


@every_notebook
def test_recap_mirrors_the_objectives(path: Path) -> None:
    recap = re.search(r"^## Recap\s*$(.+?)(?=^## |\Z)", prose(path), re.MULTILINE | re.DOTALL)
    assert recap, "a section '## Recap'"
    assert re.findall(r"^- \*\*(.+?)\*\*", recap[1], re.MULTILINE) == objectives(path)


@every_notebook
def test_what_is_next(path: Path) -> None:
    last = re.search(r"^## What's next\s*$(.+)\Z", prose(path), re.MULTILINE | re.DOTALL)
    assert last, "the last section is '## What's next'"
    assert not re.search(r"^## ", last[1], re.MULTILINE)
    assert re.search(r"\]\(\S+\)", last[1]), "it links to where to go"


@every_notebook
def test_sections_ask_a_question(path: Path) -> None:
    found = re.findall(r"^## (.+?)\s*$", prose(path), re.MULTILINE)
    bare = [re.sub(r"\s*\([^)]*\)$", "", heading) for heading in found]
    assert [h for h in bare if not h.endswith("?") and h not in CLOSING] == []
    assert len(bare) > len(CLOSING)


# ---- cells --------------------------------------------------------------------------------


@every_notebook
def test_cells_are_short(path: Path) -> None:
    sizes = {cell.id: len([x for x in cell.source.splitlines() if x.strip()]) for cell in code(path)}
    assert {name: size for name, size in sizes.items() if size > 15} == {}
    assert statistics.median(len(lines(cell)) for cell in code(path)) <= 3


@every_notebook
def test_tags_are_known(path: Path) -> None:
    used = {tag for cell in read(path).cells for tag in tags(cell)}
    assert used - TAGS == set()


@every_notebook
def test_it_is_executed_top_to_bottom(path: Path) -> None:
    counts = [cell.execution_count for cell in code(path)]
    assert counts == list(range(1, len(counts) + 1)), "run helpers.normalise --execute"


@every_notebook
def test_every_checked_cell_has_an_output(path: Path) -> None:
    checked = [cell for cell in code(path) if "nbval-check-output" in tags(cell)]
    assert len(checked) >= 2, "two verdict cells at least"
    assert [cell.id for cell in checked if not output_text(cell).strip()] == []
    for cell in checked:
        # A time or an address would differ at the next run, and the comparison would be noise.
        assert not re.search(r"\d+\.\d+ ?(s|ms)\b|\b127\.", output_text(cell)), cell.id


@every_notebook
def test_no_cell_failed(path: Path) -> None:
    for cell in code(path):
        kinds = {output.output_type for output in cell.outputs}
        assert "error" not in kinds or "raises-exception" in tags(cell), cell.id
        errors = [o.text for o in cell.outputs if o.output_type == "stream" and o.name == "stderr"]
        assert errors == [], cell.id


@every_notebook
def test_no_shell_in_cells(path: Path) -> None:
    # Under nbval a failing `!command` passes, and an unknown magic does too.
    for cell in code(path):
        assert not re.search(r"^\s*[!%]", cell.source, re.MULTILINE), cell.id
        assert "input(" not in cell.source, cell.id
        waits = re.findall(r"\bsleep\(([\d.]+)\)", cell.source)
        assert all(float(wait) <= 2 for wait in waits), f"{cell.id}: poll instead of sleeping"


@every_notebook
def test_a_cleanup_cell(path: Path) -> None:
    assert [cell.id for cell in code(path) if "cleanup" in tags(cell)], "one cell tagged cleanup"


@every_notebook
def test_it_is_normalised(path: Path) -> None:
    found = path.read_text(encoding="utf-8")
    assert text(normalised(read(path))) == found, "run python -m helpers.normalise on it"


# ---- figures and secrets ------------------------------------------------------------------


@every_notebook
def test_figures_are_small_and_described(path: Path) -> None:
    for cell, size, alt in figures(read(path)):
        assert size < FIGURE_LIMIT, cell
        assert alt, f"{cell}: a figure without alternative text"
        assert len(alt) >= 30, f"{cell}: say what to notice"


@pytest.mark.parametrize("kind", SECRETS)
@every_notebook
def test_no_secret(path: Path, kind: str) -> None:
    for cell in read(path).cells:
        everything = cell.source + "\n" + output_text(cell)
        assert not re.search(SECRETS[kind], everything), f"{kind} in cell {cell.id}"


@pytest.mark.parametrize(
    ("kind", "leak"),
    [
        ("a Vault token", "token hvs." + "CAESIJ" * 4),
        ("an old Vault token", "s." + "a1B2" * 6),
        ("an unseal key", "q83vEjRWeJASNFZ4mrze8KvN7xI0VniQEjRWeJq83vA="),
        ("a key in hexadecimal", "0123456789abcdef" * 4),
        ("a password", "'password': 'A1a-" + "xYz9" * 4 + "'"),
        ("a secret id", "secret_id=0a1b2c3d-0000-4000-8000-0123456789ab"),
    ],
)
def test_a_secret_would_be_found(kind: str, leak: str) -> None:
    assert re.search(SECRETS[kind], leak)
    assert kind in SECRETS


@every_notebook
def test_nothing_of_one_machine(path: Path) -> None:
    for cell in read(path).cells:
        assert not re.search(OWN_MACHINE, cell.source + "\n" + output_text(cell)), cell.id


# ---- exercises ----------------------------------------------------------------------------


def exercises(path: Path) -> list[tuple[str, str, list[Any]]]:
    """Return (number, title, the four cells) of every exercise of a notebook."""
    cells = read(path).cells
    found = []
    for position, cell in enumerate(cells):
        heading = re.search(r"^### Exercise (\d+\.\d+): (.+)$", cell.source, re.MULTILINE)
        if cell.cell_type == "markdown" and heading:
            found.append((heading[1], heading[2].strip(), cells[position : position + 4]))
    return found


EXERCISES = [(path, *exercise) for path in NOTEBOOKS for exercise in exercises(path)]
every_exercise = pytest.mark.parametrize(
    ("path", "number", "title", "cells"), EXERCISES, ids=[entry[1] for entry in EXERCISES]
)


@every_notebook
def test_two_exercises_in_order(path: Path) -> None:
    numbers = [number for number, _, _ in exercises(path)]
    chapter = int(path.name[:2])
    assert len(numbers) >= 2
    assert numbers == [f"{chapter}.{n + 1}" for n in range(len(numbers))]


@every_exercise
def test_exercise_has_its_shape(path: Path, number: str, title: str, cells: list[Any]) -> None:
    text_cell, stub, hint, solution = cells
    assert "**Goal.**" in text_cell.source
    assert "**Expected.**" in text_cell.source
    assert "exercise" in tags(stub)
    assert "..." in stub.source
    assert stub.source.rstrip().endswith(f'check("{number}", answer)')
    assert hint.source == f'hint("{number}")'
    assert solution.source.startswith(f"<details><summary>Solution of {number}</summary>")
    assert f"{number} not answered yet" in output_text(stub)
    assert find(number).title == title


@every_exercise
def test_stub_and_solution_agree(path: Path, number: str, title: str, cells: list[Any]) -> None:
    file = solution_file(number)
    solved = file.read_text(encoding="utf-8").strip()
    assert f"(solutions/{file.name})" in cells[3].source
    assert f"```python\n{solved}\n```" in cells[3].source, "the folded solution is the file"
    assert solved.startswith(f'"""Exercise {number}: {title}'), "the file says what it solves"
    stub = cells[1].source.rsplit(f'check("{number}"', 1)[0].strip()
    pattern = re.escape(bare(stub)).replace(r"\.\.\.", r"(?:.+?)")
    assert re.search(pattern, bare(solved), re.DOTALL), "the solution fills the blanks of the stub"


def bare(code: str) -> str:
    """Return code without what a formatter decides: blanks, line breaks, a last comma."""
    return re.sub(r",(?=[)\]}])", "", re.sub(r"\s+", "", code))


def solution_file(number: str) -> Path:
    chapter, item = number.split(".")
    found = [p for p in SOLUTIONS if p.name.startswith(f"{int(chapter):02d}-{item}-")]
    assert len(found) == 1, f"one solution of {number}"
    return found[0]


def test_every_solution_belongs_to_an_exercise() -> None:
    assert {solution_file(entry[1]) for entry in EXERCISES} == set(SOLUTIONS)


@every_exercise
def test_the_stub_is_unanswered(path: Path, number: str, title: str, cells: list[Any]) -> None:
    stub = cells[1].source.rsplit(f'check("{number}"', 1)[0]
    names: dict[str, Any] = {}
    if re.match(r"(answer = |def answer|answer: )", stub):
        exec(stub, names)
        assert unanswered(names["answer"])


# ---- links and words ----------------------------------------------------------------------


def links(path: Path) -> list[str]:
    return re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)", prose(path))


@every_page
def test_links_resolve(path: Path) -> None:
    for link in links(path):
        if re.match(r"https?://", link):
            continue
        file, _, fragment = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert REPOSITORY in target.parents, link
        if fragment:
            assert fragment in {anchor(h) for h in headings(target)}, link


@every_page
def test_links_have_words(path: Path) -> None:
    names = re.findall(r"\[([^\]]*)\]\([^)\s]+\)", prose(path))
    assert [name for name in names if name.strip().lower() in {"", "here", "link", "this"}] == []


def test_the_glossary_is_in_order() -> None:
    words = re.findall(r"^### (.+)$", (FOLDER / "glossary.md").read_text(), re.MULTILINE)
    assert words == sorted(words, key=str.lower)
    assert len(words) == len(set(words))


@every_notebook
def test_terms_are_linked_to_the_glossary(path: Path) -> None:
    assert [link for link in links(path) if link.startswith("glossary.md#")]


@every_page
def test_prose_keeps_the_house_style(path: Path) -> None:
    found = re.sub(r"`[^`]*`|!=|<!--|!\[", "", prose(path))
    assert "!" not in found, "no exclamation marks"
    assert not re.search(r"\bsimply\b", found, re.IGNORECASE)
    assert not re.search(r"^:::|^```\{", found, re.MULTILINE), "plain Markdown only"
