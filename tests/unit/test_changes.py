"""`lab.changed`: other settings for a while, nested, put back in the end and after a dead kernel; no lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import changes, owners
from helpers.errors import LabError
from helpers.topology import load

DEAD = 2**22 + 1  # above the largest process id that Linux gives


class Home:
    """What `lab.json` holds."""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}

    def remember(self, **settings: Any) -> None:
        self.settings |= settings


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lab that only notes which section was applied, and with which lease and mode."""
    applied: list[tuple[str, int, str]] = []

    def apply(lab: Any, section: str) -> None:
        raw = lab.topology.raw
        applied.append((section, raw["database"]["lease"], raw["todo"]["on_vault_loss"]))

    monkeypatch.setattr(changes, "apply", apply)
    topology = load("local")

    @contextmanager
    def step(_what: str) -> Iterator[None]:
        yield

    driver = SimpleNamespace(topology=topology, name="local")
    return SimpleNamespace(topology=topology, driver=driver, home=Home(), step=step, applied=applied)


def test_a_change_is_put_back_after_an_error(lab: Any) -> None:
    with suppress(ZeroDivisionError), changes.changed(lab, "database", lease=20):
        assert lab.topology.raw["database"]["lease"] == 20
        assert lab.driver.topology is lab.topology
        raise ZeroDivisionError
    assert lab.topology.raw["database"]["lease"] == 60
    assert lab.home.settings[changes.KEY] is None


def test_changes_nest(lab: Any) -> None:
    with changes.changed(lab, "database", lease=20):
        with changes.changed(lab, "todo", on_vault_loss="fail"):
            pass
        assert lab.home.settings[changes.KEY]["sections"] == ["database"]
    assert lab.applied == [
        ("database", 20, "hold"),
        ("todo", 20, "fail"),
        ("todo", 20, "hold"),
        ("database", 60, "hold"),
    ]


def test_a_dead_process_leaves_nothing_changed(lab: Any) -> None:
    lab.home.remember(changed={"sections": ["database", "todo"], "owner": {"pid": DEAD, "since": 1.0}})
    changes.restore_orphaned(lab)
    assert [section for section, _, _ in lab.applied] == ["database", "todo"]
    assert lab.home.settings[changes.KEY] is None


def test_the_change_of_a_living_process_stays(lab: Any) -> None:
    with changes.changed(lab, "database", lease=20):
        changes.restore_orphaned(lab)
        assert lab.topology.raw["database"]["lease"] == 20


@pytest.mark.parametrize(("section", "setting"), [("nodes", "lease"), ("database", "colour")])
def test_what_does_not_exist_is_refused(lab: Any, section: str, setting: str) -> None:
    with pytest.raises(LabError, match="has no|There is no"), changes.changed(lab, section, **{setting: 1}):
        pass
    assert lab.applied == []


def test_a_way_back_that_was_interrupted_is_gone_once_more(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same kernel, alive, reaches for the lab again: what is still changed is nobody's."""
    apply, calls = changes.apply, []

    def second_is_interrupted(lab: Any, section: str) -> None:
        calls.append(section)
        if len(calls) == 3:
            raise KeyboardInterrupt
        apply(lab, section)

    monkeypatch.setattr(changes, "apply", second_is_interrupted)
    lease, mode = (
        changes.changed(lab, "database", lease=20),
        changes.changed(lab, "todo", on_vault_loss="fail"),
    )
    with pytest.raises(KeyboardInterrupt), lease, mode:
        pass
    assert lab.home.settings[changes.KEY] == {"sections": ["todo"], "owner": None}
    lab.driver.topology = lab.topology
    monkeypatch.setattr(changes, "load", lambda *_: load("local"))
    changes.restore_orphaned(lab)
    assert calls == ["database", "todo", "todo", "database", "todo"]
    assert lab.home.settings[changes.KEY] is None


def test_an_id_that_was_given_anew_is_another_process(lab: Any) -> None:
    lab.home.remember(changed={"sections": ["database"], "owner": {**owners.this(), "since": 1.0}})
    changes.restore_orphaned(lab)
    assert lab.home.settings[changes.KEY] is None
