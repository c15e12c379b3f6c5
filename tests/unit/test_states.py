"""The ladder's pure parts, and how it is climbed and descended, on a lab that only takes notes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import changes, recording, states
from helpers.errors import LabError, RoleVacantError
from helpers.states import STATES


class Notes:
    """A lab on a certain rung: climbing a rung puts it there, its end puts it down."""

    def __init__(self, at: str, wanted: str | None = None) -> None:
        self.at = at
        self.did: list[str] = []
        self.said: list[str] = []
        self.say = self.said.append
        self.driver = SimpleNamespace(
            alive=at != "down",
            down=self._down,
            clear=self._down,
            stop=lambda _: self.did.append("stop todo"),
            mend=lambda node: self.mended.append(node),
        )
        self.mended: list[str] = []
        settings = {} if wanted is None else {"state": wanted}
        self.home = SimpleNamespace(
            settings=settings,
            remember=lambda **more: settings.update(more),
            forget_data=lambda: self.did.append("forget"),
        )
        self.topology = SimpleNamespace(of=lambda *_, **__: [], nodes={"todo0": None})

    def _down(self, _: Any) -> None:
        self.did.append("down")
        self.at = "down"

    @contextmanager
    def step(self, _: str) -> Iterator[None]:
        yield


@pytest.fixture(autouse=True)
def rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rungs be climbed by taking a note, and the state be what was noted."""

    def rung(state: str) -> Any:
        def climb(lab: Notes) -> None:
            lab.did.append(state)
            if STATES.index(lab.at) < STATES.index(state):
                lab.at = state

        return climb

    monkeypatch.setattr(states, "_RUNGS", [(state, rung(state)) for state in STATES[1:]])
    monkeypatch.setattr(states, "current", lambda lab: lab.at)
    monkeypatch.setattr(recording, "end_orphaned", lambda _: None)
    monkeypatch.setattr(changes, "restore_orphaned", lambda _: None)


def reach(lab: Notes, state: str) -> list[str]:
    states.reach(lab, state)  # type: ignore[arg-type]
    return lab.did


def test_the_ladder() -> None:
    assert STATES == ["down", "nodes", "initialized", "unsealed", "configured", "deployed"]


@pytest.mark.parametrize("word", ["", "up", "Deployed", "heaven"])
def test_unknown_states(word: str) -> None:
    with pytest.raises(LabError, match=f"There is no state {word!r}; the states are down, nodes"):
        states.check(word)


@pytest.mark.parametrize("state", STATES[1:])
def test_climbing_takes_every_rung_below(state: str) -> None:
    assert reach(Notes("down"), state) == STATES[1 : STATES.index(state) + 1]


def test_being_there_already_does_nothing() -> None:
    lab = Notes("deployed", wanted="deployed")
    assert reach(lab, "deployed") == []
    assert "the lab is deployed" in " ".join(lab.said)


def test_configured_from_deployed_keeps_the_cluster() -> None:
    assert reach(Notes("deployed"), "configured")[0] == "stop todo"
    assert "forget" not in reach(Notes("deployed"), "configured")


@pytest.mark.parametrize("state", ["nodes", "initialized", "unsealed"])
@pytest.mark.parametrize("above", ["configured", "deployed"])
def test_a_descent_forgets_the_data_and_climbs_anew(above: str, state: str) -> None:
    did = reach(Notes(above), state)
    assert did.index("down") < did.index("forget") < did.index(state)
    assert did[-1] == state
    assert ("stop todo" in did) == (above == "deployed"), "a running todo drains first"


def test_down_keeps_the_data() -> None:
    assert reach(Notes("deployed"), "down") == ["down"]
    assert reach(Notes("down"), "down") == ["down"], "a supervisor that died leaves strays and a network"


def test_what_a_killed_notebook_cut_off_is_mended_by_the_next() -> None:
    lab = Notes("deployed", "deployed")
    reach(lab, "deployed")
    assert lab.mended == ["todo0"]


def test_a_verb_of_its_own_is_remembered_and_never_lowers() -> None:
    lab = Notes("nodes", "nodes")
    states.at_least(lab, "unsealed")  # type: ignore[arg-type]
    states.at_least(lab, "initialized")  # type: ignore[arg-type]
    assert lab.home.settings["state"] == "unsealed"
    fresh = Notes("nodes")
    states.at_least(fresh, "nodes")  # type: ignore[arg-type]
    assert fresh.home.settings["state"] == "nodes"


def test_a_start_that_was_refused_has_made_no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(_lab: Any) -> None:
        raise LabError("The netns driver needs Linux and root.")

    monkeypatch.setattr(states, "_RUNGS", [("nodes", refuses)])
    lab = Notes("down")
    with pytest.raises(LabError, match="needs Linux and root"):
        reach(lab, "nodes")
    with pytest.raises(LabError, match="no lab to heal here"):
        states.heal(lab)  # type: ignore[arg-type]


def test_what_was_wanted_is_remembered_for_heal() -> None:
    lab = Notes("down")
    reach(lab, "unsealed")
    lab.at = "down"
    states.heal(lab)  # type: ignore[arg-type]
    assert lab.at == "unsealed"


def test_heal_without_a_lab_is_a_sentence() -> None:
    with pytest.raises(LabError, match="no lab to heal here; `lab up` makes one"):
        states.heal(Notes("down"))  # type: ignore[arg-type]


def test_a_stopped_lab_whose_data_are_above_descends_after_it_woke(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployed lab was taken down: as soon as its nodes run, it is initialized again."""
    lab = Notes("down")
    first = states._RUNGS[0][1]

    def awake(one: Any) -> None:
        first(one)
        if "forget" not in one.did:
            one.at = "initialized"

    monkeypatch.setattr(states, "_RUNGS", [("nodes", awake), *states._RUNGS[1:]])
    did = reach(lab, "nodes")
    assert did == ["nodes", "down", "forget", "nodes"]
    assert lab.at == "nodes"


@pytest.mark.parametrize("times", [1, 2])
def test_a_leader_lost_on_the_way_is_climbed_to_again_once(
    monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Consul's server came back, Vault wrote a secret, and then its leader found its session gone."""
    lost = iter([RoleVacantError("No Vault leads at the moment.")] * times)
    rung = states._RUNGS[3][1]

    def configured(lab: Any) -> None:
        if error := next(lost, None):
            raise error
        rung(lab)

    monkeypatch.setattr(states, "_RUNGS", [*states._RUNGS[:3], ("configured", configured), states._RUNGS[4]])
    lab = Notes("nodes")
    if times == 1:
        assert reach(lab, "deployed")[-3:] == ["unsealed", "configured", "deployed"]
    else:
        with pytest.raises(RoleVacantError):
            reach(lab, "deployed")


def test_a_heal_takes_out_of_maintenance_and_wakes_a_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither shows in what a state asks for: processes run, servers answer."""
    lab: Any = Notes("deployed", "deployed")
    signals: list[str] = []
    lab.topology = SimpleNamespace(
        nodes={
            "todo0": SimpleNamespace(name="todo0", spare=False, programs=["agent", "todo"]),
            "todo2": SimpleNamespace(name="todo2", spare=True, programs=["agent", "todo"]),
        },
        of=lambda *_, **__: [],
    )
    lab.driver.mend = lambda _node: None
    lab.driver.state = lambda target: "paused" if str(target) == "todo2:todo" else "running"
    lab.driver.signal = lambda target, signal: signals.append(f"{signal} {target}")
    monkeypatch.setattr(states.faults, "clear_maintenance", lambda _lab: lab.did.append("cleared"))
    states.heal(lab)
    assert lab.did == ["cleared"]
    assert signals == ["CONT todo2:todo"]
