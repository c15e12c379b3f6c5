"""Checks of notebook 00, start here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real

import pandas as pd

from helpers.exercises import exercise

WINDOW = 2.5  # seconds: the mean of a moment that is even over an interval of 5 s
LOST = 12.5  # requests: half of 10 per second, for as long


@exercise(
    "0.1",
    "the window in numbers",
    hint="The kill falls anywhere between two questions, each moment as likely as another. During the "
    "window every second request goes to the dead process.",
    right="2.5 s and 12.5 requests. Half the interval, times the rate, times the share of the dead instance.",
    wrong=[
        {"seconds": 5, "requests": 25},
        {"seconds": 2.5, "requests": 25},
        {"seconds": 0, "requests": 0},
        {"seconds": "2.5", "requests": 12.5},
        2.5,
    ],
)
def window_in_numbers(answer: object) -> str | None:
    """Mean seconds until a check of 5 s notices, and requests lost meanwhile."""
    if not isinstance(answer, Mapping) or set(answer) != {"seconds", "requests"}:
        return "the answer is the dictionary above, with its two numbers filled in."
    seconds, lost = answer["seconds"], answer["requests"]
    if not (isinstance(seconds, Real) and isinstance(lost, Real)):
        return "both values are numbers, without quotation marks."
    if seconds != WINDOW:
        return f"{seconds} s is not the average: the best case is 0 s, the worst 5 s."
    if lost != LOST:
        return (
            f"the window is right. {lost} requests is not: only those to one of the two instances are lost."
        )
    return None


def _series(*states: str) -> pd.Series:
    return pd.Series(states, index=[round(-0.2 + 0.1 * n, 1) for n in range(len(states))])


STATES = _series("passing", "passing", "passing", "passing", "critical", "critical", "passing")
EDGES = (0.1, 0.2)


def _end_of_the_outage(states: pd.Series) -> tuple[float, float]:
    critical = states.index[states == "critical"]
    return critical[-1], states.index[states == "passing"][-1]


def _one_time(states: pd.Series) -> float:
    return float(states.index[states == "critical"][0])


def _last_passing_of_all(states: pd.Series) -> tuple[float, float]:
    return states.index[states == "passing"][-1], states.index[states == "critical"][0]


@exercise(
    "0.2",
    "between two looks",
    hint="The index of the rows that are critical begins with the second time. The first is the last index "
    "before it. The instance passes again later, so the last 'passing' of all is too late.",
    right="The truth lies between the two. Every time in this workbook is such a pair.",
    wrong=[_end_of_the_outage, _one_time, _last_passing_of_all, (0.1, 0.2)],
)
def between_two_looks(answer: Callable[[pd.Series], object]) -> str | None:
    """The last time before the first critical state, and the time of that state."""
    if not callable(answer):
        return "the answer is a function that takes a Series."
    found = answer(STATES.copy())
    if not isinstance(found, tuple | list) or len(found) != 2:
        return f"your function returned {found!r}; a pair of times is expected."
    if tuple(round(float(time), 6) for time in found) != EDGES:
        rows = ", ".join(f"{time:g} {state}" for time, state in STATES.items())
        return f"for the states {rows} your function returned {tuple(found)}."
    return None
