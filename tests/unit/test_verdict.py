"""Each verdict from made-up records, and none of them for nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import made_up
import pytest

from helpers.clocks import Config
from helpers.metrics import Measured, Missing
from helpers.records import Records
from helpers.verdict import BROKEN, HELD, UNKNOWN, findings, judge, table, verdict


def cut(records: Records, at: float) -> Records:
    return Records(records.info, records.samples[records.samples["sent"] < at], records.events)


def without(records: Records, *sources: str) -> Records:
    kept = records.samples[~records.samples["source"].isin(sources)]
    return Records(records.info, kept, records.events)


@pytest.mark.parametrize("story", made_up.STORIES.values(), ids=made_up.STORIES)
def test_held(story: object) -> None:
    result = verdict(story())  # type: ignore[operator]
    assert str(result) == HELD, result.reason


@pytest.mark.parametrize("failover", [33.0, 49.0])
def test_broken_on_either_side(failover: float) -> None:
    result = verdict(made_up.leader_killed(failover))
    assert result.word == BROKEN
    assert ("below" if failover < 37 else "above") in result.reason


def test_broken_when_it_does_not_come_in_time() -> None:
    result = verdict(made_up.leader_killed(failover=69.5))
    assert result.word == BROKEN, result.reason


def test_not_enough_data_when_cut_short() -> None:
    result = verdict(cut(made_up.leader_killed(), 35))
    assert result.word == UNKNOWN
    assert "observed" in result.reason


def test_not_enough_data_without_the_probes() -> None:
    result = verdict(without(made_up.leader_killed(), "consul_catalog"))
    assert result.word == UNKNOWN
    assert "no probe" in result.reason


def test_not_enough_data_when_it_was_not_healthy_before() -> None:
    records = made_up.leader_killed()
    sick = records.samples["source"].eq("secret") & records.samples["sent"].between(8, 9)
    records.samples.loc[sick, "state"] = "down"
    result = verdict(records)
    assert result.word == UNKNOWN
    assert "failed before the fault" in result.reason


def test_not_enough_data_where_nothing_is_judged() -> None:
    quiet = made_up.leader_killed()
    quiet.events = quiet.events[quiet.events["phase"] == "steady"]
    assert verdict(quiet).word == UNKNOWN


def test_unknown_is_neither_seen_nor_not_seen() -> None:
    """A silent catalog must not pass as one that still says passing, nor as one that says critical."""
    records = made_up.todo_killed()
    silent = records.samples["source"].eq("consul_catalog") & (records.samples["sent"] > 5)
    records.samples.loc[silent, ["state", "raw", "error"]] = ["unknown", "", "timeout"]
    detected = next(each for each in findings(records) if each.quantity.name == "detected")
    assert detected.verdict is not None
    assert detected.verdict.word == UNKNOWN


def test_a_fault_healed_before_its_time_is_not_broken() -> None:
    """What would have been noticed later cannot be noticed after the heal."""
    records = made_up.todo_killed(detected=20, heal=8, length=25)
    records.samples = records.samples[~records.samples["raw"].isin(["critical"])]
    detected = next(each for each in findings(records) if each.quantity.name == "detected")
    assert detected.verdict is not None
    assert detected.verdict.word == UNKNOWN, detected.verdict.reason


def test_the_resolution_counts() -> None:
    assert judge(Measured(45.9, 0.2, 1), (37.5, 45.8)).word == HELD
    assert judge(Measured(46.1, 0.2, 1), (37.5, 45.8)).word == BROKEN
    assert judge(Measured(0.3, 2.0, 1), (0, 0.5)).word == UNKNOWN


def test_nothing_is_trivially_true() -> None:
    assert judge(Measured(3, 0.1, 1), (0, math.inf)).word == UNKNOWN
    assert judge(Measured(0, 0, 0), (0, 0), counts=True).word == UNKNOWN
    assert judge(Measured(1, 0, 50), (0, 0), counts=True).word == BROKEN
    assert judge(Missing("not seen", 3.0), (0, 5)).word == UNKNOWN
    assert judge(Missing("not seen", 6.0), (0, 5)).word == BROKEN


def test_the_configuration_of_the_run_decides() -> None:
    records = made_up.leader_killed(failover=32.0)
    assert verdict(records).word == BROKEN
    records.info["config"] = Config(session_ttl=10).as_dict()
    assert verdict(records).word == HELD, verdict(records).reason


def test_table() -> None:
    rows = table(made_up.leader_killed())
    outage = rows[rows["time"] == "outage for its users"].iloc[0]
    assert outage["allowed"] == "37.5–45.8 s"
    assert outage["your prediction"] == "30 s"
    assert outage["verdict"] == HELD
    assert rows[rows["time"] == "todo requests lost"].iloc[0]["measured"] == "0"
    odd = table(made_up.leader_killed(), prediction={"the colour of the sky": 1})
    assert odd.iloc[-1]["time"] == "the colour of the sky"


def test_what_comes_after_the_heal_is_not_credited_to_the_fault() -> None:
    records = made_up.todo_killed(detected=9.0, heal=8.0, length=25)
    detected = next(each for each in findings(records) if each.quantity.name == "detected")
    assert detected.verdict is not None
    assert detected.verdict.word == UNKNOWN, detected.verdict.reason


def test_that_nothing_happened_needs_the_time_in_which_it_could() -> None:
    assert judge(Measured(0.0, 0.1, 9, watched=60), (37.5, 45.8)).word == BROKEN
    assert judge(Measured(0.0, 0.1, 9, watched=3), (37.5, 45.8)).word == UNKNOWN
    assert judge(Measured(0.0, 0.1, 9, watched=3), (0, 5.5)).word == UNKNOWN
    assert judge(Measured(0.0, math.nan, 1), (0, 5.5)).word == UNKNOWN
    assert judge(Measured(math.nan, 0.1, 9), (0, 5.5)).word == UNKNOWN


def test_an_injection_that_failed_proves_nothing() -> None:
    records = made_up.todo_killed()
    injected = records.events["phase"] == "inject"
    records.events.loc[injected, "ok"] = False
    records.events.loc[injected, "message"] = "interrupted"
    result = verdict(records)
    assert result.word == UNKNOWN
    assert "the injection failed (interrupted)" in result.reason


def test_what_was_hit_is_what_the_run_noted() -> None:
    records = without(made_up.leader_killed(), "vault")
    records.events["params"] = records.events["params"].str.replace("{", '{"hit": "vault.standby", ', n=1)
    records.info["config"] = Config().as_dict()
    assert {each.quantity.name for each in findings(records, prediction={})} == {"detected", "lost"}


def test_a_missed_tick_is_neither_silence_nor_a_new_leader() -> None:
    records = made_up.server_stopped()
    samples = records.samples
    asked = samples["source"].eq("dns") & samples["sent"].between(6, 26)
    samples.loc[asked, ["raw", "error", "state"]] = ["vault0", "none", "up"]
    one = samples[asked & samples["target"].eq("active.vault")].index[3]
    samples.loc[one, ["raw", "error", "state"]] = ["missed", "other", "unknown"]
    found = {each.quantity.name: each.answer for each in findings(records)}
    assert isinstance(found["dns_silent"], Missing)

    records = made_up.leader_killed()
    samples = records.samples
    led = samples.index[samples["target"].eq("vault0") & samples["source"].eq("vault")]
    late = led[samples.loc[led, "sent"].between(10, 20)]
    samples.loc[late, ["raw", "error", "state"]] = ["200", "none", "up"]
    samples.loc[late[3], ["raw", "error", "state"]] = ["missed", "other", "unknown"]
    leader = next(each.answer for each in findings(records) if each.quantity.name == "leader")
    assert isinstance(leader, Measured)
    assert leader.value == pytest.approx(40.1, abs=0.3)


@pytest.mark.parametrize(
    ("story", "lane", "name"),
    [
        (made_up.leader_killed, ("secret", "vault"), "outage"),
        (made_up.todo_killed, ("todo", "todo"), "window"),
        (made_up.agent_lost, ("todo", "todo"), "lost"),
        (made_up.server_stopped, ("secret", "vault"), "writes_fail"),
    ],
)
def test_where_nobody_was_asked_nothing_is_proved(
    story: Callable[[], Records], lane: tuple[str, str], name: str
) -> None:
    records = story()
    samples = records.samples
    begin = float(records.events.query("phase == 'inject'")["t_begin"].iloc[0])
    slept = samples["source"].eq(lane[0]) & samples["target"].eq(lane[1]) & (samples["sent"] > begin)
    samples.loc[slept, ["raw", "error", "state"]] = ["missed", "other", "unknown"]
    for bound in ((0.0, 0.5), (0.0, 5.5), (37.5, 45.8)):
        (found,) = (each for each in findings(records, {name: bound}, {}) if each.quantity.name == name)
        assert found.verdict is not None
        assert found.verdict.word == UNKNOWN, (bound, found.verdict.reason)


def test_a_first_failure_after_the_heal_is_not_the_fault_s() -> None:
    records = made_up.todo_killed(detected=0.5, heal=8.0, length=25)
    samples = records.samples
    users = samples["source"].eq("todo") & samples["target"].eq("todo")
    samples.loc[users, ["raw", "error", "state"]] = ["204 @todo1", "none", "up"]
    late = users & samples["sent"].between(17, 18)
    samples.loc[late, ["raw", "error", "state"]] = ["", "refused", "down"]
    (found,) = findings(records, {"todo_fails": (1.0, 20.0)}, {})
    assert isinstance(found.answer, Missing)
