"""The definitions of the metrics, each on samples small enough to count by hand."""

from __future__ import annotations

import math

import made_up
import pandas as pd
import pytest

from helpers import reference
from helpers.cases import USER_LANE, cases
from helpers.measures import returned
from helpers.metrics import (
    Measured,
    Missing,
    Moment,
    availability,
    availability_in_time,
    error_budget,
    first,
    hops,
    is_out,
    is_up,
    latency,
    outages,
    removed_though_healthy,
    summary,
    undetected,
)
from helpers.quantities import AFTER_HEAL, QUANTITIES, quantity
from helpers.records import Records, tables
from helpers.rows import COLUMNS, Sample
from helpers.timeline import Lane, spans


def users(pattern: str) -> pd.DataFrame:
    """One request a second: `.` good, `x` bad, `?` not asked, `o` an overrun that stands for bad."""
    rows = []
    for seq, mark in enumerate(pattern):
        state = {".": "up", "?": "unknown"}.get(mark, "down")
        error = {".": "none", "x": "refused", "?": "other", "o": "overrun"}[mark]
        done = math.nan if mark in "?o" else seq + 0.01 * (seq + 1)
        rows.append(Sample(seq, seq, seq, done, "todo", "host", "todo", "rw", state, "", error, None))
    return tables(pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame())[0]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("..........", []),
        ("...xxx.....", [3.0]),
        ("...x.....", [1.0]),
        ("...x..x.....", [4.0]),  # two good ones in between are no recovery
        ("...x.....x.....", [1.0, 1.0]),
        ("...xx??.....", [4.0]),  # unknown neither ends nor prolongs: the edge is only less certain
        ("...xoo.....", [3.0]),
    ],
)
def test_outages_end_with_five_good_answers(pattern: str, expected: list[float]) -> None:
    lengths = [each.length() for each in outages(users(pattern))]
    found = [length for length in lengths if length is not None]
    assert len(found) == len(lengths) == len(expected)
    for length, value in zip(found, expected, strict=True):
        assert abs(length.value - value) <= length.resolution


def test_an_outage_that_lasts_has_no_length() -> None:
    (outage,) = outages(users("...xx...."))
    assert outage.end is None
    assert outage.length() is None


def test_the_two_availabilities_differ_in_what_they_leave_out() -> None:
    rows = users("....xx??oo..........")
    by_requests = availability(rows)
    assert (by_requests.value, by_requests.n) == (pytest.approx(14 / 16), 16)
    in_time = availability_in_time(spans(rows), 0, 19)
    # 0–3.5 up, 3.5–5.5 down, then 2 s unknown, 7.5–9.5 down, 9.5–19 up
    assert in_time.value == pytest.approx(13 / 17)
    assert in_time.resolution > 0


def test_error_budget() -> None:
    assert error_budget(2592) == pytest.approx(1)
    assert error_budget(41.6) == pytest.approx(0.016, abs=0.0005)


def test_latency_of_the_good_answers_only() -> None:
    found = latency(users("." * 99 + "x"))
    assert found["p50"].value == pytest.approx(500, abs=11)
    assert found["max"].value == pytest.approx(990)
    assert latency(users("xx"))["p99"].n == 0
    assert math.isnan(latency(users("."))["max"].resolution), "one answer does not say how far off it is"


def test_a_percentile_is_the_answer_at_that_rank() -> None:
    rows = users("." * 100)
    rows["done"] = rows["sent"] + [rank / 1000 for rank in range(1, 101)]
    found = latency(rows)
    assert [found[name].value for name in ("p50", "p95", "p99", "max")] == pytest.approx([50, 95, 99, 100])
    assert latency(rows[:2])["p50"].value == pytest.approx(1)


def test_a_moment_after_the_unknown_is_less_certain() -> None:
    rows = users("...???xxx")
    moment = first(spans(rows), is_out, 0.5)
    assert moment is not None
    assert (moment.lo, moment.hi) == (2.0, 6.0)
    assert first(spans(rows), is_out, 6.5) is None
    assert Moment(2, 6).since(3) == Measured(1.5, 1.5, 1, 3, 4.5)


def test_hops_come_in_order() -> None:
    (case,) = cases(made_up.todo_killed(detected=3.2))
    found = hops(case).set_index("hop")
    assert list(found.index) == ["process", "agent", "catalog", "DNS", "users"]
    assert found.loc["process", "seconds"] < 0.1
    assert found.loc["catalog", "seconds"] == pytest.approx(3.2, abs=0.01)
    assert abs(found.loc["DNS", "seconds"] - 3.2) <= found.loc["DNS", "resolution"]


def test_unhealthy_but_undetected_and_removed_though_healthy() -> None:
    (killed,) = cases(made_up.todo_killed(detected=3.2))
    assert undetected(killed, "todo0") == pytest.approx(3.2, abs=0.1)
    assert removed_though_healthy(killed, "todo0") == pytest.approx(1.3, abs=0.1)  # between start and check
    blind = killed.records.samples["source"] != "process"
    (unseen,) = cases(Records(killed.records.info, killed.records.samples[blind], killed.records.events))
    assert math.isnan(undetected(unseen, "todo0"))
    assert math.isnan(removed_though_healthy(unseen, "todo0"))
    (lost,) = cases(made_up.agent_lost(detected=5.6))
    assert undetected(lost, "todo0") == 0
    assert removed_though_healthy(lost, "todo0") == pytest.approx(9.4, abs=0.1)


@pytest.mark.parametrize(
    ("story", "name", "value"),
    [
        (made_up.todo_killed, "detected", 3.2),
        (made_up.todo_killed, "returned", 1.5),
        (made_up.leader_killed, "leader", 40.1),
        (made_up.leader_killed, "outage", 40.1),
        (made_up.leader_killed, "leader_lost", 0.0),
        (made_up.leader_killed, "writes_fail", 0.0),
        (made_up.leader_killed, "restored", 40.1),
        (made_up.server_stopped, "leader_lost", 10.4),
        (made_up.server_stopped, "leader_again", 47.4),
        (made_up.server_stopped, "secret_again", 47.4),
        (made_up.server_stopped, "dns_silent", 0.0),
        (made_up.agent_lost, "lost", 0.0),
        (made_up.agent_lost, "detected", 5.6),
        (made_up.todo_paused, "window", 4.1),
    ],
)
def test_quantities_find_what_was_put_in(story: object, name: str, value: float) -> None:
    (case,) = cases(story())  # type: ignore[operator]
    answer = QUANTITIES[name].measure(case)
    assert isinstance(answer, Measured), answer
    assert abs(answer.value - value) <= answer.resolution + 0.01
    assert answer.resolution <= 0.26


def test_what_did_not_happen_is_missing_with_the_time_it_was_watched() -> None:
    records = made_up.agent_lost()
    (case,) = cases(records)
    answer = QUANTITIES["leader"].measure(case)
    assert isinstance(answer, Missing)
    assert "no probe" in answer.reason
    silent = QUANTITIES["dns_silent"].measure(case)
    assert isinstance(silent, Missing)
    assert silent.watched == pytest.approx(case.heal - case.begin, abs=1.5)


def test_failures_count_only_what_was_sent() -> None:
    (case,) = cases(made_up.todo_killed())
    rows = USER_LANE["todo"].of(case.samples)
    expected = int(((rows["state"] == "down") & (rows["sent"] <= case.heal)).sum())
    answer = QUANTITIES["lost"].measure(case)
    assert isinstance(answer, Measured)
    assert answer.value == expected > 5


def test_the_leader_is_who_said_so_before() -> None:
    (case,) = cases(made_up.leader_killed())
    assert (case.leader, case.subject) == ("vault0", "vault.leader")


def test_names_of_predictions() -> None:
    assert quantity("Secret readable again") is QUANTITIES["outage"]
    assert quantity("todo requests lost") is QUANTITIES["todo_lost"]
    assert quantity("the weather") is None
    assert set(QUANTITIES) >= AFTER_HEAL


def test_summary_has_a_resolution_for_every_number() -> None:
    (case,) = cases(made_up.todo_killed())
    table = summary(case)
    assert {"availability by requests", "outages", "error budget used"} <= set(table["metric"])
    assert table["resolution"].notna().all()


def test_a_number_is_as_long_as_a_reader_needs() -> None:
    assert [str(Measured(v, 0.01, 1)) for v in (40.123, 0.567)] == ["40.1", "0.57"]
    assert str(Measured(12, 0, 40)) == "12"


def test_lane_of_nobody_is_empty() -> None:
    assert Lane("dns", "mysql", "x", "A").of(made_up.agent_lost().samples).empty


def test_a_node_is_named_again_when_the_last_of_its_lanes_is_up() -> None:
    """The cable is back: gossip was out before, the service's own check turns critical only now."""
    case = cases(reference.load("05-unplugged").records)[0]  # type: ignore[arg-type]
    ups = {
        lane.check: moment.hi - case.heal
        for name in ("todo", "serfHealth")
        for lane in case.catalog("todo0", name)
        if (moment := first(case.lane(lane), is_up, case.heal)) is not None
    }
    measured = returned(case)
    assert isinstance(measured, Measured)
    assert ups["todo"] < ups["serfHealth"], "this recording shows both"
    assert measured.value == pytest.approx(ups["serfHealth"], abs=0.2)


def test_a_victim_s_own_agent_is_not_believed_about_it() -> None:
    records = made_up.todo_killed(detected=3.2)
    samples = records.samples.copy()
    own = samples[samples["source"].eq("consul_catalog") & samples["vantage"].eq("mysql")].copy()
    own["vantage"] = "todo0"
    own.loc[own["target"].eq("todo0"), ["raw", "state"]] = ["passing", "up"]
    both = pd.concat([own, samples], ignore_index=True)  # it told first
    (case,) = cases(Records(records.info, both, records.events))
    assert undetected(case, "todo0") == pytest.approx(3.2, abs=0.1)


def test_todos_are_lost_to_the_end_of_the_case() -> None:
    records = made_up.server_stopped()
    samples = records.samples
    (case,) = cases(records)
    late = USER_LANE["todo"].of(samples)
    late = late[late["sent"].between(case.heal + 1, case.heal + 3)]
    samples.loc[late.index, ["raw", "error", "state"]] = ["", "refused", "down"]
    (case,) = cases(records)
    answer = QUANTITIES["todo_lost"].measure(case)
    assert isinstance(answer, Measured)
    assert answer.value == len(late) > 10
