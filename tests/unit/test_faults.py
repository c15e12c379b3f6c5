"""Faults are planned without a lab: what would be done, to whom, and how a figure names it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import deploy, faults
from helpers.drivers import netns, rules
from helpers.drivers.local import LocalDriver
from helpers.drivers.vagrant import VagrantDriver
from helpers.errors import LabError
from helpers.faults import FAULTS
from helpers.topology import Target, load

TOPOLOGY = load("local")


def target(text: str) -> list[Target]:
    return [TOPOLOGY.target(text)]


class Told:
    """A driver that does nothing, and a list of what it was told."""

    def __init__(self, *capabilities: str) -> None:
        self.name = "told"
        self.capabilities = frozenset(capabilities)
        self.calls: list[tuple[Any, ...]] = []
        self.ended = False  # what all programs are

    def __getattr__(self, verb: str) -> Any:
        return lambda *words, **_: self.calls.append((verb, *words))

    def state(self, _target: Target) -> str:
        return "stopped" if self.ended else "running"


def lab(driver: Told) -> Any:
    return SimpleNamespace(driver=driver, topology=TOPOLOGY, resolve=lambda role: target(role))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_plan_that_names_its_victim(fault: str) -> None:
    victim = "vault0" if fault in ("step_down", "seal") else "todo0"
    plan = FAULTS[fault].plan(TOPOLOGY, victim, target(victim))
    assert plan.fault == fault
    assert plan.nodes == [victim]
    assert plan.label.startswith(victim)
    assert plan.label.endswith(FAULTS[fault].words)


@pytest.mark.parametrize("fault", ["power_off", "suspend"])
def test_a_whole_node_is_all_its_programs(fault: str) -> None:
    plan = FAULTS[fault].plan(TOPOLOGY, "todo0:agent", target("todo0:agent"))
    assert [str(each) for each in plan.targets] == ["todo0:agent", "todo0:todo"]
    assert plan.label.startswith("todo0:")


def test_leave_is_for_the_agent_of_the_node() -> None:
    assert FAULTS["leave"].plan(TOPOLOGY, "todo1", target("todo1")).targets == (Target("todo1", "agent"),)


@pytest.mark.parametrize(("fault", "victim"), [("step_down", "todo0"), ("maintenance", "consul")])
def test_a_target_that_cannot_suffer_it_is_refused(fault: str, victim: str) -> None:
    with pytest.raises(LabError, match=f"{fault} needs .* is not one"):
        FAULTS[fault].plan(TOPOLOGY, victim, target(victim))


def test_an_unknown_fault_is_answered_with_the_known_ones() -> None:
    with pytest.raises(LabError, match=r"no fault 'explode'; the faults are stop, kill, pause"):
        faults.plan(lab(Told()), "explode", "todo0")


@pytest.mark.parametrize("fault", [name for name, kind in FAULTS.items() if kind.needs])
def test_a_driver_without_the_capability_is_one_sentence(fault: str) -> None:
    with pytest.raises(LabError, match=f"{fault} needs .*, which the told driver does not give; use pause"):
        faults.plan(lab(Told()), fault, "todo0")


@pytest.mark.parametrize(
    ("fault", "capability", "called"),
    [
        ("stop", "", [("stop", (Target("todo0", "todo"),))]),
        ("kill", "", [("signal", Target("todo0", "todo"), "KILL")]),
        ("pause", "", [("signal", Target("todo0", "todo"), "STOP")]),
        ("power_off", "power", [("power_off", "todo0")]),
        ("suspend", "power", [("suspend", "todo0")]),
        (
            "suspend",
            "",
            [("signal", Target("todo0", "agent"), "STOP"), ("signal", Target("todo0", "todo"), "STOP")],
        ),
        ("unplug", "network", [("unplug", "todo0")]),
        ("slow", "delay", [("delay", "todo0", 100)]),
    ],
)
def test_what_a_driver_is_told(fault: str, capability: str, called: list[tuple[Any, ...]]) -> None:
    driver = Told(capability)
    FAULTS[fault].inject(lab(driver), faults.plan(lab(driver), fault, "todo0"))
    assert driver.calls == called


@pytest.mark.parametrize("fault", ["partition", "unplug", "lossy", "slow", "suspend"])
def test_a_fault_of_a_node_is_mended_on_it(fault: str) -> None:
    driver = Told("network", "delay", "power")
    FAULTS[fault].heal(lab(driver), faults.plan(lab(driver), fault, "todo0"))
    assert driver.calls == [("mend", "todo0")]


def test_todos_that_ended_are_deployed_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    delivered: list[list[str]] = []
    monkeypatch.setattr(deploy, "deliver", lambda _lab, names: delivered.append(names))
    driver = Told()
    both = [*target("todo0"), *target("todo1")]
    made = FAULTS["kill"].plan(TOPOLOGY, "todo.all", both)
    driver.ended = True
    FAULTS["kill"].heal(lab(driver), made)
    assert delivered == [["todo0", "todo1"]]


@pytest.mark.parametrize(
    ("verb", "words"),
    [("cut", ["todo0", []]), ("unplug", ["todo0"]), ("delay", ["todo0", 1]), ("suspend", ["todo0"])],
)
def test_the_local_driver_says_who_can(verb: str, words: list[Any]) -> None:
    with pytest.raises(LabError, match="LAB_DRIVER="):
        getattr(LocalDriver, verb)(None, *words)


@pytest.mark.parametrize("netem", [True, False])
def test_a_delay_is_the_kernel_s_to_give(monkeypatch: pytest.MonkeyPatch, netem: bool) -> None:
    monkeypatch.setattr(netns, "can_delay", lambda: netem)
    driver: Any = object.__new__(netns.NetnsDriver)
    assert (faults.lacking(driver, "slow") is None) is netem
    assert faults.lacking(driver, "partition") is None
    assert faults.lacking(object.__new__(VagrantDriver), "slow") == "delay"


@pytest.mark.parametrize(
    ("obeys", "tables", "legacy", "refused"),
    [
        ("1", "chain FORWARD { type filter hook forward priority filter; policy drop; }", "", True),
        ("0", "chain FORWARD { type filter hook forward priority filter; policy drop; }", "", False),
        ("1", "chain FORWARD { type filter hook forward priority filter; policy accept; }", "", False),
        ("1", "", ":FORWARD DROP [0:0]", True),
        ("1", "", ":FORWARD ACCEPT [0:0]", False),
    ],
)
def test_docker_s_rules_that_drop_what_a_bridge_carries_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, obeys: str, tables: str, legacy: str, refused: bool
) -> None:
    for name, shown in (("nft", tables), ("iptables-legacy-save", legacy), ("ip", "")):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{shown}'\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(sys, "platform", "linux")
    (tmp_path / "obeys").write_text(f"{obeys}\n")
    (tmp_path / "legacy").write_text("filter\n" if legacy else "")
    monkeypatch.setattr(netns, "FILTERED", tmp_path / "obeys")
    monkeypatch.setattr(netns, "LEGACY", tmp_path / "legacy")
    if refused:
        with pytest.raises(LabError, match="run `sysctl net.bridge.bridge-nf-call-iptables=0`"):
            netns.NetnsDriver._refuse_unfit_machine()
    else:
        netns.NetnsDriver._refuse_unfit_machine()


def test_what_does_not_run_cannot_be_broken() -> None:
    driver = Told("network", "delay")
    driver.state = lambda _target: "stopped"  # type: ignore[method-assign]
    with pytest.raises(LabError, match="todo0:todo does not run, so there is nothing to break"):
        faults.plan(lab(driver), "kill", "todo0")


def test_a_node_leaves_once() -> None:
    everything = list(TOPOLOGY.programs())
    plan = FAULTS["leave"].plan(TOPOLOGY, "all", everything)
    assert len(plan.targets) == len({target.node for target in everything})


@pytest.mark.parametrize("fault", ["pause", "suspend", "partition", "unplug"])
def test_silence_has_a_drawing_of_its_own(fault: str) -> None:
    assert FAULTS[fault].plan(TOPOLOGY, "todo0", target("todo0")).drawing["hatch"]


def test_a_partition_from_some_names_them() -> None:
    driver = Told("network")
    plan = faults.plan(lab(driver), "partition", "todo0/mysql,consul")
    assert (plan.peers, plan.label) == (("mysql", "consul"), "todo0: cut off, from mysql and consul")
    FAULTS["partition"].inject(lab(driver), plan)
    assert driver.calls == [("cut", "todo0", ["mysql", "consul"])]


@pytest.mark.parametrize(
    ("fault", "role", "sentence"),
    [
        ("unplug", "todo0/mysql", "unplug knows no peers; partition, deaf, lossy do"),
        ("partition", "todo0/todo0", "todo0 cannot be cut off from itself"),
    ],
)
def test_peers_that_cannot_be(fault: str, role: str, sentence: str) -> None:
    with pytest.raises(LabError, match=sentence):
        faults.plan(lab(Told("network")), fault, role)


def test_a_partition_of_everything_cuts_each_from_all_others() -> None:
    driver = Told("network")
    everything = [TOPOLOGY.target(name) for name in ("todo0", "mysql")]
    FAULTS["partition"].inject(lab(driver), FAULTS["partition"].plan(TOPOLOGY, "all", everything))
    assert [(call[1], set(TOPOLOGY.nodes) - set(call[2])) for call in driver.calls] == [
        ("todo0", {"todo0"}),
        ("mysql", {"mysql"}),
    ]


def test_the_deaf_one_s_table_has_one_direction() -> None:
    both, deaf = rules.drop(["172.20.20.13"]), rules.drop(["172.20.20.13"], deaf=True)
    assert "oif != lo ip daddr @cut drop" in both
    assert "oif" not in deaf.replace("hook output", "")
    assert "iif != lo ip saddr @cut drop" in deaf
