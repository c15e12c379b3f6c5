"""Which lanes a figure shows, and where its time axis ends."""

from __future__ import annotations

import made_up
import pytest

from helpers import panels
from helpers.cases import cases
from helpers.figures import choose
from helpers.records import Records
from helpers.verdict import findings


def shown(records: Records) -> set[tuple[str, str]]:
    return {(lane.source, lane.target) for lane in choose(records, cases(records), findings(records))}


def test_ticks_that_the_recorder_missed_add_no_lane() -> None:
    records = made_up.leader_killed()
    before = shown(records)
    rows = (
        records.samples[records.samples["source"] == "process"].groupby("target", observed=True).head(1).index
    )
    records.samples.loc[rows, ["state", "raw", "error"]] = ["unknown", "missed", "other"]
    assert shown(records) == before


def test_without_the_server_the_todos_themselves_are_shown() -> None:
    assert {("todo", "todo0"), ("todo", "todo1")} <= shown(made_up.server_stopped())


@pytest.mark.parametrize(("last", "end"), [(45, 52.65), (30, 30)])
def test_the_axis_reaches_the_end_of_a_bracket_that_is_near(last: float, end: float) -> None:
    found = [each for each in findings(made_up.leader_killed()) if each.quantity.name == "leader"]
    (each,) = found
    assert each.allowed is not None
    bracket = each.case.begin + each.allowed[1]
    wanted = bracket if end > last else last
    assert panels.end(found, 0, last) == pytest.approx(wanted + 0.005 * last)
    assert (bracket > last * (1 + panels.BEYOND)) == (end == last), "the case is what it says"
