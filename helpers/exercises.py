"""`check`, `hint` and `confirm`: how a notebook tells its reader whether something is right.

An exercise is registered by the decorator `exercise` in `helpers/checks/nNN.py`, where NN is
the notebook's number; `check("1.2", answer)` loads that module when it is needed. A check never
raises: a wrong answer is a step of learning and not an error, and a test run must get past the
blanks that a reader has not filled in. `confirm` is the opposite: it states facts about the lab
that must hold, and raises when one is broken.
"""

from __future__ import annotations

import dis
import html
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import FunctionType
from typing import Any, Literal

from helpers.errors import LabError

Checker = Callable[[Any], str | None]
Outcome = Literal["right", "not yet", "not answered yet"]


@dataclass(frozen=True)
class Exercise:
    """One exercise: its number, what it asks, its check, and answers that the check must refuse."""

    number: str
    title: str
    checker: Checker
    hint: str
    right: str
    wrong: Sequence[Any]
    lab: bool


@dataclass(frozen=True)
class Judgement:
    """What `check` found: the outcome, and the sentence that goes with it."""

    number: str
    outcome: Outcome
    message: str

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.outcome == "right"

    def __str__(self) -> str:
        """Return the line that the reader sees."""
        return f"{self.number} {self.outcome}: {self.message}"


@dataclass(frozen=True, repr=False)
class Hint:
    """A hint that a notebook shows folded; as plain text it stands open."""

    exercise: Exercise

    def __repr__(self) -> str:
        """Return the hint as one line of text."""
        return f"Hint for {self.exercise.number}: {self.exercise.hint}"

    def _repr_html_(self) -> str:
        found = html.escape(self.exercise.hint)
        return f"<details><summary>Hint for {self.exercise.number}</summary>{found}</details>"


_exercises: dict[str, Exercise] = {}


def exercise(
    number: str,
    title: str,
    *,
    hint: str,
    right: str,
    wrong: Sequence[Any],
    lab: bool = False,
) -> Callable[[Checker], Checker]:
    """Register a check under an exercise's number.

    The decorated function gets the answer and returns what is not right yet, as a sentence, or
    None when it is right. `right` is the sentence that follows a right answer, `wrong` holds
    plausible answers that the check must refuse (tests try each of them), and `lab` says that
    the check or the solution needs a running lab.
    """
    if not wrong:
        raise ValueError(f"Exercise {number} names no wrong answer: can its check fail?")

    def register(checker: Checker) -> Checker:
        known = _exercises.get(number)
        if known is not None and known.checker.__qualname__ != checker.__qualname__:
            raise ValueError(f"Two checks are called {number}.")
        _exercises[number] = Exercise(number, title, checker, hint, right, wrong, lab)
        return checker

    return register


def find(number: str) -> Exercise:
    """Return the exercise with a number such as `6.3`; `LabError` when there is none."""
    if re.fullmatch(r"\d{1,2}\.\d{1,2}", str(number)) is None:
        raise LabError(f"{number!r} is no exercise's number; they look like '1.2'.")
    chapter = int(number.split(".")[0])
    module = f"helpers.checks.n{chapter:02d}"
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise LabError(f"Notebook {chapter:02d} has no exercises with a check.") from None
    if number not in _exercises:
        known = ", ".join(sorted(n for n in _exercises if n.startswith(f"{chapter}.")))
        raise LabError(f"There is no exercise {number}; notebook {chapter:02d} has {known}.")
    return _exercises[number]


def unanswered(answer: object) -> bool:
    """Tell whether an answer is still the stub: `...`, a collection with `...` in it, or a
    function whose body is `...`.
    """
    if answer is ...:
        return True
    if isinstance(answer, Mapping):
        return any(unanswered(value) for value in answer.values())
    if isinstance(answer, list | tuple | set):
        return any(unanswered(value) for value in answer)
    if isinstance(answer, FunctionType):
        return _shape(answer) == _shape(_stub)
    return False


def _stub() -> None: ...


def _shape(function: FunctionType | Callable[[], None]) -> list[tuple[str, Any]]:
    """Return what a function does; a docstring, which does nothing, makes no difference."""
    return [(step.opname, step.argval) for step in dis.get_instructions(function)]


def judge(number: str, answer: object) -> Judgement:
    """Judge an answer without printing; never raises because of the answer."""
    known = find(number)
    if unanswered(answer):
        return Judgement(number, "not answered yet", "replace each `...` and run the cell again.")
    try:
        wrong = known.checker(answer)
    except LabError as error:
        return Judgement(number, "not yet", f"the lab could not tell. {error}")
    except Exception as error:
        # Whatever a reader can think of must end in a sentence, so every exception is caught.
        return Judgement(
            number,
            "not yet",
            f"the check cannot use your answer, a {type(answer).__name__} "
            f"({type(error).__name__}: {error}). Compare it with what is expected above.",
        )
    if wrong is not None:
        return Judgement(number, "not yet", wrong)
    return Judgement(number, "right", known.right)


def check(number: str, answer: object) -> None:
    """Judge an answer and print one line: right, not yet, or not answered yet, and why."""
    try:
        print(judge(number, answer))
    except LabError as error:
        print(error)


def hint(number: str) -> Hint | None:
    """Return the hint of an exercise; a notebook shows it folded."""
    try:
        return Hint(find(number))
    except LabError as error:
        print(error)
        return None


class NotConfirmedError(LabError):
    """A fact that a notebook states about the lab does not hold."""


def confirm(facts: Mapping[str, object]) -> None:
    """Print each fact with its verdict: held, broken, or (for None) not enough data.

    The lines hold no time and no number of the run, so a test can compare them with the
    committed ones. Raises `NotConfirmedError` when a fact is broken, after printing all of them.
    """
    broken = []
    for fact, holds in facts.items():
        verdict = "not enough data" if holds is None else "held" if holds else "broken"
        print(f"{verdict:<16} {fact}")
        if verdict == "broken":
            broken.append(fact)
    if broken:
        raise NotConfirmedError(f'{"; ".join(broken)}: not so. See troubleshooting.md, "A fact is broken".')
