"""What several checks ask of an answer: numbers in a dictionary, a run of the reader's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real

from helpers.cases import Case, cases
from helpers.measures import Answer
from helpers.metrics import Missing
from helpers.showing import Showing

NO_RUN = "the answer is a run that is over: what `lab.record` gave you, after its `with`."


def numbers(
    answer: object, right: Mapping[str, float], tolerance: float, why: str, unit: str = ""
) -> str | None:
    """Return what is wrong with a dictionary of numbers, or None.

    `why` is told with the first that is further than `tolerance` from the right one.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(right):
        return "the answer is the dictionary above, with its numbers filled in."
    for name, value in right.items():
        given = answer[name]
        if not isinstance(given, Real):
            return f"{name}: {given!r} is not a number."
        if abs(float(given) - value) > tolerance:
            return f"{name}: {given:g}{unit} is not it. {why}"
    return None


def proof(run: Showing, quantity: Callable[[Case], Answer], limit: float, observe: str) -> str | None:
    """Return why a run of one's own does not show that `quantity` stays under `limit` seconds, or None.

    `observe` says what to do when the run ended too early.
    """
    assert run.records is not None
    if run.records.info.get("recorded"):
        return "this run is recorded; prove it by a run of your own."
    took = quantity(cases(run.records)[0])
    if isinstance(took, Missing):
        return f"in this run {took.reason}; {observe}."
    if took.value >= limit or str(run.verdict()) != "held":
        return f"it took {took} s and the verdict is {run.verdict()}; was the machine busy? Run it again."
    return None
