"""`check`, `hint` and `confirm`, and every check of the workbook against right and wrong answers."""

from __future__ import annotations

import pkgutil
import runpy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from notebook_files import SOLUTIONS

import helpers.checks
from helpers import exercises
from helpers.errors import LabError
from helpers.exercises import (
    Exercise,
    NotConfirmedError,
    check,
    confirm,
    exercise,
    find,
    hint,
    judge,
    unanswered,
)

for module in pkgutil.iter_modules(helpers.checks.__path__):
    import_module(f"helpers.checks.{module.name}")
REGISTERED = sorted(exercises._exercises.values(), key=lambda e: e.number)


@pytest.fixture
def sum_exercise(monkeypatch: pytest.MonkeyPatch) -> str:
    """Register an exercise 77.1 for one test: the answer is 4."""
    monkeypatch.setattr(exercises, "_exercises", dict(exercises._exercises))
    monkeypatch.setattr(exercises, "import_module", lambda name: None)

    @exercise("77.1", "two and two", hint="Count <fingers>.", right="2 + 2 is 4.", wrong=[5])
    def two_and_two(answer: Any) -> str | None:
        return None if answer + 0 == 4 else f"{answer} is not 2 + 2."

    return "77.1"


def test_a_right_answer(sum_exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(sum_exercise, 4)
    assert capsys.readouterr().out == "77.1 right: 2 + 2 is 4.\n"
    assert judge(sum_exercise, 4).right


def test_a_wrong_answer_says_why(sum_exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(sum_exercise, 5)
    assert capsys.readouterr().out == "77.1 not yet: 5 is not 2 + 2.\n"
    assert not judge(sum_exercise, 5).right


def test_an_answer_of_another_kind_is_no_traceback(sum_exercise: str) -> None:
    found = judge(sum_exercise, "four")
    assert found.outcome == "not yet"
    assert "a str" in found.message


def test_a_lab_that_is_away_is_said_so(sum_exercise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(answer: Any) -> str | None:
        raise LabError("The lab is down; run `lab up`.")

    known = find(sum_exercise)
    changed = Exercise(known.number, known.title, unreachable, "", "", [0], lab=True)
    monkeypatch.setitem(exercises._exercises, sum_exercise, changed)
    assert judge(sum_exercise, 4).message == "the lab could not tell. The lab is down; run `lab up`."


def empty() -> None: ...


def documented() -> None:
    """Say what it does, and do nothing yet."""
    ...


def filled() -> int:
    return 4


@pytest.mark.parametrize("blank", [..., [1, ...], {"a": ...}, (1, [...]), empty, documented])
def test_a_stub_is_not_answered(blank: Any, sum_exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert unanswered(blank)
    check(sum_exercise, blank)
    assert capsys.readouterr().out.startswith("77.1 not answered yet: ")


@pytest.mark.parametrize("given", [0, None, "", [], {}, [1], filled, len])
def test_anything_else_is_an_answer(given: Any) -> None:
    assert not unanswered(given)


def test_a_hint_is_folded_and_escaped(sum_exercise: str) -> None:
    found = hint(sum_exercise)
    assert repr(found) == "Hint for 77.1: Count <fingers>."
    assert found is not None
    assert found._repr_html_() == (
        "<details><summary>Hint for 77.1</summary>Count &lt;fingers&gt;.</details>"
    )


@pytest.mark.parametrize("number", ["98.1", "nonsense", "", "1", "1.1.1"])
def test_an_unknown_number_is_a_sentence(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    check(number, 1)
    assert hint(number) is None
    assert capsys.readouterr().out.count("\n") == 2
    with pytest.raises(LabError):
        find(number)


def test_an_unknown_number_of_a_known_notebook(sum_exercise: str) -> None:
    with pytest.raises(LabError, match=r"notebook 77 has 77\.1"):
        find("77.9")


def test_two_checks_cannot_share_a_number(sum_exercise: str) -> None:
    with pytest.raises(ValueError, match=r"Two checks are called 77\.1"):

        @exercise(sum_exercise, "another", hint="", right="", wrong=[1])
        def another(answer: Any) -> str | None:
            return None


def test_a_check_must_name_a_wrong_answer() -> None:
    with pytest.raises(ValueError, match="can its check fail"):
        exercise("77.2", "too easy", hint="", right="", wrong=[])


# ---- confirm --------------------------------------------------------------------------------


def test_confirm_prints_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    confirm({"the sky is blue": True, "tomorrow is sunny": None})
    assert capsys.readouterr().out == (
        "held             the sky is blue\nnot enough data  tomorrow is sunny\n"
    )


def test_confirm_raises_when_one_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotConfirmedError, match="the sky is green: not so") as caught:
        confirm({"the sky is green": 0, "grass is": 1})
    assert capsys.readouterr().out == "broken           the sky is green\nheld             grass is\n"
    assert caught.value._render_traceback_() == [f"NotConfirmedError: {caught.value}"]


# ---- the workbook's own checks ------------------------------------------------------------------


def test_every_module_of_checks_is_named_after_a_notebook() -> None:
    for found in REGISTERED:
        chapter = int(found.number.split(".")[0])
        assert found.checker.__module__ == f"helpers.checks.n{chapter:02d}"


@pytest.mark.parametrize("known", REGISTERED, ids=lambda e: e.number)
def test_a_registered_exercise_is_complete(known: Exercise) -> None:
    assert known.hint.endswith((".", "?"))
    assert known.right.endswith(".")
    assert known.checker.__doc__
    assert list(known.wrong)


OFFLINE = [known for known in REGISTERED if not known.lab]


@pytest.mark.parametrize(
    ("known", "answer"),
    [(known, answer) for known in OFFLINE for answer in known.wrong],
    ids=[f"{known.number}-{n}" for known in OFFLINE for n in range(len(known.wrong))],
)
def test_a_wrong_answer_is_refused(known: Exercise, answer: Any) -> None:
    found = judge(known.number, answer)
    assert found.outcome == "not yet"
    assert "cannot use your answer" not in found.message, "say what is wrong with it"


def _solution(number: str) -> Path:
    chapter, item = number.split(".")
    return next(p for p in SOLUTIONS if p.name.startswith(f"{int(chapter):02d}-{item}-"))


@pytest.mark.parametrize("known", OFFLINE, ids=lambda e: e.number)
def test_the_solution_is_right(known: Exercise) -> None:
    answer = runpy.run_path(str(_solution(known.number)))["answer"]
    found = judge(known.number, answer)
    assert found.right, found
