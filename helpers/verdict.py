"""Held, broken or not enough data: what was measured against what is allowed.

A verdict must be able to fail. It is `held` only for a number that lies in its interval, was
measured finely enough to lie outside, in a run that was healthy before the fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from helpers.cases import USER_LANE, Case, cases
from helpers.clocks import Bound
from helpers.measures import Answer
from helpers.metrics import Measured, Missing
from helpers.quantities import QUANTITIES, Quantity, quantity
from helpers.records import Records
from helpers.timeline import Lane

HELD, BROKEN, UNKNOWN = "held", "broken", "not enough data"
#: Seconds before the injection in which users must have been served without a failure.
BEFORE = 3.0

Interval = tuple[float, float]
Bounds = Mapping[str, Bound | Sequence[float]]


@dataclass(frozen=True)
class Verdict:
    """One of the three words, and why; prints as the word."""

    word: str
    reason: str

    def __str__(self) -> str:
        """Return the word alone, the same in every run that ends the same."""
        return self.word


@dataclass(frozen=True)
class Finding:
    """One quantity of one fault: allowed, measured, predicted, judged."""

    case: Case
    quantity: Quantity
    allowed: Interval | None
    answer: Answer
    prediction: float | None
    verdict: Verdict | None
    lane: Lane | None

    @property
    def measured(self) -> Measured | None:
        """The number, None where there is none."""
        return self.answer if isinstance(self.answer, Measured) else None


def judge(answer: Answer, allowed: Interval, counts: bool = False) -> Verdict:
    """Return the verdict on one number and its interval, ends included.

    The number's resolution counts for it: it is broken only when no value within the resolution is
    allowed. A resolution wider than the interval or unknown, or an interval without an end, proves nothing.
    What was looked for and did not come is broken once the time is over, else not enough data; that nothing
    happened is not enough data either while it still could.
    """
    lo, hi = allowed
    if math.isinf(hi) or hi < lo:
        return Verdict(UNKNOWN, "the interval allows everything or nothing")
    if isinstance(answer, Missing):
        if answer.watched > hi and not counts:
            return Verdict(BROKEN, f"{answer.reason} within {hi:.3g} s")
        return Verdict(UNKNOWN, f"{answer.reason}; {answer.watched:.3g} s of {hi:.3g} s were observed")
    if counts and answer.n == 0:
        return Verdict(UNKNOWN, "no request was sent")
    if math.isnan(answer.value) or math.isnan(answer.resolution):
        return Verdict(UNKNOWN, f"too few samples ({answer.n})")
    if answer.watched < hi:
        return Verdict(UNKNOWN, f"no failure, but only {answer.watched:.3g} s of {hi:.3g} s were observed")
    if not counts and answer.resolution > hi - lo:
        return Verdict(UNKNOWN, f"known to ±{answer.resolution:.2g} s only, the interval has {hi - lo:.2g} s")
    if answer.value + answer.resolution < lo or answer.value - answer.resolution > hi:
        side = "below" if answer.value < lo else "above"
        return Verdict(BROKEN, f"{answer} is {side} {_interval(allowed)}")
    return Verdict(HELD, f"{answer} is in {_interval(allowed)}")


def _interval(allowed: Interval) -> str:
    lo, hi = allowed
    return f"{lo:.3g}–{hi:.3g}" if lo != hi else f"{lo:.3g}"


def steady_before(case: Case) -> str:
    """Return what was not healthy in the seconds before a fault, one sentence; empty if all was."""
    lane = USER_LANE[case.service]
    samples = case.records.samples
    rows = lane.of(samples)
    # what was answered after the injection was hit by it, and belongs to the fault
    rows = rows[(rows["done"] < case.begin) & (rows["sent"] >= case.begin - BEFORE)]
    if rows.empty:
        return "nothing was recorded before the fault"
    bad = int((rows["state"] != "up").sum())
    return f"{bad} of {len(rows)} requests failed before the fault" if bad else ""


def findings(
    records: Records,
    bounds: Bounds | None = None,
    prediction: Mapping[str, float] | None = None,
    among: Sequence[Case] | None = None,
) -> list[Finding]:
    """Return everything that is allowed or predicted for the faults of a run, measured and judged.

    `bounds` replaces what the run's configuration allows (name to interval), `prediction` what the run
    was told; a prediction may use a quantity's name or its words. `among` are the run's cases, if the
    caller has them already.
    """
    found: list[Finding] = []
    told = prediction if prediction is not None else records.info.get("prediction") or {}
    for case in cases(records) if among is None else among:
        allowed: dict[str, Interval] = case.bounds() if bounds is None else intervals(bounds)
        predicted = {known.name: value for name, value in told.items() if (known := quantity(name))}
        unhealthy = case.failed or steady_before(case)
        for name in dict.fromkeys([*allowed, *predicted]):
            each = QUANTITIES.get(name)
            if each is None:
                continue
            answer = each.measure(case)
            verdict = None
            if name in allowed:
                verdict = (
                    Verdict(UNKNOWN, unhealthy) if unhealthy else judge(answer, allowed[name], each.counts)
                )
            lane = each.lane(case)
            found.append(Finding(case, each, allowed.get(name), answer, predicted.get(name), verdict, lane))
    return found


def intervals(bounds: Bounds) -> dict[str, Interval]:
    """Return bounds of any kind as plain pairs."""
    return {
        name: (bound.lo, bound.hi) if isinstance(bound, Bound) else (float(bound[0]), float(bound[1]))
        for name, bound in bounds.items()
    }


def verdict(records: Records, bounds: Bounds | None = None) -> Verdict:
    """Return the verdict on a whole run: broken if anything is, held if everything is.

    A run without a fault or without a bound is not enough data.
    """
    judged = [each for each in findings(records, bounds) if each.verdict is not None]
    for word in (BROKEN, UNKNOWN):
        reasons = [
            f"{each.quantity.words}: {each.verdict.reason}"
            for each in judged
            if each.verdict and each.verdict.word == word
        ]
        if reasons:
            return Verdict(word, "; ".join(reasons))
    if not judged:
        return Verdict(UNKNOWN, "nothing in this run has a bound")
    return Verdict(HELD, "; ".join(each.verdict.reason for each in judged if each.verdict))


def table(
    records: Records, bounds: Bounds | None = None, prediction: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Return fault, what is measured, allowed, measured, your prediction and verdict, one row each."""
    rows = []
    told = prediction if prediction is not None else records.info.get("prediction") or {}
    for each in findings(records, bounds, prediction):
        unit = "" if each.quantity.counts else " s"
        rows.append(
            {
                "fault": each.case.label,
                "time": each.quantity.words,
                "allowed": "–" if each.allowed is None else _interval(each.allowed) + unit,
                "measured": f"{each.answer}{unit}" if each.measured else "–",
                "your prediction": "–" if each.prediction is None else f"{each.prediction:g}{unit}",
                "verdict": "–" if each.verdict is None else each.verdict.word,
            }
        )
    for name, value in told.items():
        if quantity(name) is None:
            rows.append(dict.fromkeys(COLUMNS, "–") | {"time": name, "your prediction": f"{value:g}"})
    return pd.DataFrame(rows, columns=COLUMNS)


COLUMNS = ["fault", "time", "allowed", "measured", "your prediction", "verdict"]
