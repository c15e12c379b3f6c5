"""Exercises whose check or solution needs a lab: right answers pass there, wrong ones do not."""

from __future__ import annotations

import pkgutil
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import helpers.checks
from helpers import exercises
from helpers.exercises import Exercise, judge
from helpers.lab import Lab

SOLUTIONS = Path(__file__).resolve().parents[2] / "notebooks" / "solutions"

for module in pkgutil.iter_modules(helpers.checks.__path__):
    import_module(f"helpers.checks.{module.name}")
ON_THE_LAB = [e for e in sorted(exercises._exercises.values(), key=lambda e: e.number) if e.lab]


@pytest.mark.parametrize("known", ON_THE_LAB, ids=lambda e: e.number)
def test_the_solution_is_right(lab: Lab, known: Exercise) -> None:
    chapter, item = known.number.split(".")
    file = next(SOLUTIONS.glob(f"{int(chapter):02d}-{item}-*.py"))
    found = judge(known.number, runpy.run_path(str(file))["answer"])
    assert found.right, found


@pytest.mark.parametrize(
    ("known", "answer"),
    [(known, answer) for known in ON_THE_LAB for answer in known.wrong],
    ids=[f"{known.number}-{n}" for known in ON_THE_LAB for n in range(len(known.wrong))],
)
def test_a_wrong_answer_is_refused(lab: Lab, known: Exercise, answer: Any) -> None:
    found = judge(known.number, answer)
    assert found.outcome == "not yet"
    assert "cannot use your answer" not in found.message, "say what is wrong with it"
