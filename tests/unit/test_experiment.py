"""What an experiment does when something in it goes wrong, on a lab that only takes notes."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import experiment, recorder, recording, records, rows
from helpers.errors import LabError
from helpers.experiment import Run
from helpers.faults import FAULTS, Plan
from helpers.topology import Target, load


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that has begun, of a lab whose repair takes no time."""
    lab: Any = SimpleNamespace(topology=load(), repaired=[], state="deployed")
    lab.reach = lambda state, quiet: lab.repaired.append(state)
    made = Run(lab, "made up", {})
    made.folder = tmp_path
    made._info = rows.start(tmp_path)
    monkeypatch.setattr(experiment, "SETTLE", 0.0)
    return made


def test_a_condition_that_is_none_is_refused_at_once(run: Run) -> None:
    with pytest.raises(LabError, match=r"no condition 'vault.leder'; use vault.leader, todo.any, detected"):
        run.observe(until="vault.leder", at_most=0.2)


def test_a_fault_that_cannot_be_undone_does_not_stop_the_repair(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    undone: list[str] = []

    class Stubborn:
        def heal(self, _: object, plan: Plan) -> None:
            undone.append(plan.role)
            if plan.role == "todo1":
                raise ConnectionError("nobody is there")

    monkeypatch.setitem(FAULTS, "kill", Stubborn())  # type: ignore[arg-type]
    for name in ("todo0", "todo1"):
        plan = Plan("kill", name, (Target(name, "todo"),), f"{name}: kill -9")
        run._injected.append((plan, "todo", run.now))
    run.heal()
    run.heal()
    assert undone == ["todo1", "todo0"]
    assert run.lab.repaired == ["deployed"]  # type: ignore[attr-defined]
    events = records.read(run.folder).events
    assert list(events["phase"]) == ["heal", "heal", "steady"]
    assert list(events["ok"]) == [False, True, True]
    assert events["message"][0] == "ConnectionError: nobody is there"


def test_a_leader_lost_after_the_repair_is_waited_for(run: Run) -> None:
    plan = Plan("maintenance", "todo0", (), "todo0: maintenance")
    run._injected.append((plan, "todo", run.now))
    run.lab.state = "initialized"  # type: ignore[misc]
    run.heal()
    assert run.lab.repaired == ["deployed", "deployed"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConnectionError("nobody is there")])
def test_an_injection_that_ends_half_way_is_in_the_record(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    class Half:
        needs = None

        def inject(self, _: object, plan: Plan) -> None:
            raise error

    plan = Plan("kill", "todo0", (Target("todo0", "todo"),), "todo0: kill -9")
    monkeypatch.setitem(FAULTS, "kill", Half())  # type: ignore[arg-type]
    monkeypatch.setattr(experiment.faults, "plan", lambda *_: plan)
    monkeypatch.setattr(run, "_leader", lambda: None)
    with pytest.raises(type(error)):
        run.inject("kill", "todo0")
    (event,) = records.read(run.folder).events.itertuples()
    assert (event.phase, event.ok) == ("inject", False)
    assert event.message == (
        "interrupted" if isinstance(error, KeyboardInterrupt) else f"ConnectionError: {error}"
    )


def test_detection_is_asked_of_the_service_that_is_hit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match="Nothing is broken yet that has a check"):
        run.observe(until="detected", at_most=0.2)
    plan = Plan("kill", "mysql", (Target("mysql", "mariadb"),), "mysql: kill -9")
    run._injected.append((plan, "mysql", run.now))
    passing = {"mysql"}
    monkeypatch.setattr(
        experiment, "passing_instances", lambda _lab, service: passing if service == "mysql" else set()
    )
    assert not run._holds("detected")
    passing.clear()
    assert run._holds("detected")


@pytest.mark.parametrize(
    ("mark", "said"),
    [
        ({"ended": 9.0, "reason": "asked"}, ""),
        ({"ended": 900.2, "reason": "deadline"}, "ended by itself at 900 s: its longest time was over"),
        ({"ended": 31.0, "reason": "disk"}, "ended by itself at 31 s: no room was left"),
        ({"ready": 0.1}, "The recorder died in the middle; its log: .*recorder.log"),
    ],
)
def test_a_recording_that_ended_early_says_so(tmp_path: Path, mark: dict[str, Any], said: str) -> None:
    rows.write_whole(tmp_path / recorder.MARK, mark)
    lab: Any = SimpleNamespace(home=SimpleNamespace(path=tmp_path))
    assert re.search(said, recording.ended_early(lab, tmp_path))
    assert bool(recording.ended_early(lab, tmp_path)) == bool(said)
