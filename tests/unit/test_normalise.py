"""Notebooks in their committed form: what normalising drops, keeps and refuses."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from typer.testing import CliRunner

from helpers import normalise
from helpers.errors import LabError
from helpers.normalise import FIGURE_LIMIT, figures, folded, normalised, refold, text


def picture(size: int = 10, alt: str | None = "a line that rises") -> Any:
    data = {"image/png": base64.b64encode(b"x" * size).decode(), "text/plain": "<Figure>"}
    metadata = {"image/png": {"alt": alt}} if alt else {}
    return new_output("display_data", data=data, metadata={**metadata, "needs_background": "light"})


def notebook() -> Any:
    made = new_notebook(
        cells=[
            new_markdown_cell("# 42 · Title  \n\ntext"),
            new_code_cell(
                "1 + 1\n",
                execution_count=7,
                metadata={
                    "tags": ["cleanup"],
                    "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
                    "editable": True,
                },
                outputs=[
                    new_output("stream", name="stdout", text="a\n"),
                    new_output("stream", name="stdout", text="b\n"),
                    new_output("stream", name="stderr", text="c\n"),
                    new_output("execute_result", data={"text/plain": "2"}, execution_count=7),
                ],
            ),
            new_code_cell("draw()", execution_count=12, outputs=[picture()]),
            new_code_cell("never_run()"),
        ],
        metadata={
            "kernelspec": {"name": "conda-env-x", "display_name": "x", "language": "python"},
            "language_info": {"name": "python", "version": "3.11.7"},
            "widgets": {},
        },
    )
    made.cells[0].id = "title"
    made.cells[1].id = "title"
    return made


def test_metadata_is_the_same_for_everybody() -> None:
    found = normalised(notebook())
    assert found.metadata == {
        "kernelspec": normalise.KERNEL,
        "language_info": {"name": "python"},
    }
    assert found.cells[1].metadata == {"tags": ["cleanup"]}
    nbformat.validate(found)


def test_prompts_count_from_one() -> None:
    cells = normalised(notebook()).cells
    assert [c.execution_count for c in cells if c.cell_type == "code"] == [1, 2, None]
    assert cells[1].outputs[-1].execution_count == 1


def test_ids_stay_and_are_unique() -> None:
    found = normalised(notebook())
    ids = [cell.id for cell in found.cells]
    assert ids[:2] == ["title", "title-2"]
    assert len(set(ids)) == len(ids)
    assert [cell.id for cell in normalised(found).cells] == ids


def test_pieces_of_a_stream_are_joined() -> None:
    outputs = normalised(notebook()).cells[1].outputs
    assert [(o.output_type, o.get("text")) for o in outputs] == [
        ("stream", "a\nb\n"),
        ("stream", "c\n"),
        ("execute_result", None),
    ]


def test_alternative_texts_stay() -> None:
    found = normalised(notebook())
    assert figures(found) == [(found.cells[2].id, 10, "a line that rises")]
    assert found.cells[2].outputs[0].metadata == {"image/png": {"alt": "a line that rises"}}


def test_a_heavy_figure_is_refused() -> None:
    heavy = notebook()
    heavy.cells[2].outputs = [picture(FIGURE_LIMIT)]
    with pytest.raises(LabError, match="100000 bytes"):
        normalised(heavy)
    heavy.cells[2].outputs = [picture(FIGURE_LIMIT - 1)]
    normalised(heavy)


def test_normalising_twice_changes_nothing() -> None:
    once = text(normalised(notebook()))
    assert text(normalised(nbformat.reads(once, as_version=4))) == once
    assert once.endswith("}\n")


def test_the_original_is_left_alone() -> None:
    original = notebook()
    normalised(original)
    assert original == {**notebook(), "cells": original.cells}
    assert original.cells[1].execution_count == 7


def test_folded_solutions_come_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "42-1-sum.py").write_text('"""Exercise 42.1: a sum."""\n\nanswer = 4\n')
    old = "<details><summary>Solution of 42.1</summary>\n\nanswer = 5\n\n</details>"
    made = new_notebook(cells=[new_markdown_cell(old), new_markdown_cell("text")])
    refold(made, tmp_path)
    assert made.cells[0].source == (
        "<details><summary>Solution of 42.1</summary>\n\n"
        "The file [solutions/42-1-sum.py](solutions/42-1-sum.py):\n\n"
        '```python\n"""Exercise 42.1: a sum."""\n\nanswer = 4\n```\n\n</details>'
    )
    assert made.cells[1].source == "text"


@pytest.mark.parametrize("files", [[], ["42-1-sum.py", "42-1-other.py"]])
def test_a_solution_has_one_file(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(LabError, match=f"there are {len(files)}"):
        folded("42.1", tmp_path)


# ---- the command ----------------------------------------------------------------------------


@pytest.fixture
def command() -> Any:
    import typer

    app = typer.Typer()
    app.command()(normalise.main)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_writes_in_place(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "42-title.ipynb"
    made = notebook()
    made.cells[1].id = "sum"  # nbformat warns about the id that is there twice
    nbformat.write(made, file)
    assert command("--check", file).exit_code == 1
    assert command(file).exit_code == 0
    assert command("--check", file).exit_code == 0
    assert "as it should be" in command(file).output


@pytest.mark.parametrize("content", [None, "no JSON", '{"cells": 3, "nbformat": 4}'])
def test_a_bad_file_is_one_sentence(command: Any, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "42-title.ipynb"
    if content is not None:
        file.write_text(content)
    found = command(file)
    assert found.exit_code == 1
    assert found.exception is None or isinstance(found.exception, SystemExit)
    assert "42-title.ipynb" in found.output


def test_execute_runs_it_in_a_fresh_kernel(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "42-title.ipynb"
    cells = [new_code_cell("a = 20"), new_code_cell("print(a + 1)")]
    nbformat.write(new_notebook(cells=cells), file)
    assert command("--execute", file).exit_code == 0
    done = nbformat.read(file, 4)
    assert [c.execution_count for c in done.cells] == [1, 2]
    assert done.cells[1].outputs[0].text == "21\n"


def test_execute_keeps_the_file_when_a_cell_fails(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "42-title.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1 / 0", id="divide")]), file)
    before = file.read_text()
    found = command("--execute", file)
    assert found.exit_code == 1
    assert "cell 'divide' failed: ZeroDivisionError" in found.output
    assert file.read_text() == before
