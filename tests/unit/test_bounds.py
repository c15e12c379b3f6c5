"""Bounds against a simulation of the protocols' rules, and against what a real lab measured."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from helpers import bounds
from helpers.bounds import ALLOWANCE, Config, after_heal, for_fault, subject
from helpers.errors import LabError
from helpers.topology import description

RUNS = 2000
FAST, SLOW = Config(session_ttl=2), Config(raft_multiplier=5)
ONE = Config(check_interval=1)


def polled_check(config: Config, frozen: bool) -> float:
    """An agent that asks, waits an interval, asks: the clock runs until its first bad answer."""
    now = -random.uniform(0, config.check_interval)
    while now < 0:
        now += config.check_interval
    return now + (config.check_timeout if frozen else random.uniform(0, 0.02))


def renewed_check(config: Config) -> float:
    """A service that renews a TTL check some time before it runs out, until it dies."""
    last = -random.uniform(0, config.vault_check_renewal)
    return last + config.vault_check_ttl


def gossip(config: Config) -> float:
    """Members in a ring of shuffled turns; a third who agrees ends the suspicion early."""
    others = config.agents - 1
    suspected = []
    for _ in range(others):
        turns = random.sample(range(others), others)
        at = random.randrange(others)
        left = turns[at:] + random.sample(range(others), others)
        suspected.append(random.uniform(0, config.serf_probe) + (left.index(0) + 1) * config.serf_probe)
    suspected.sort()
    shortest = config.serf_suspicion
    longest = 6 * shortest
    patience = [longest, longest - 0.63 * (longest - shortest), shortest]
    best = min(
        max(suspected[0] + patience[agree], suspected[agree] + (config.serf_gossip if agree else 0))
        for agree in range(3)
    )
    return best + config.serf_gossip * random.random()


def lock(config: Config, session_end: float) -> float:
    """The standby tries at the end of the session and every few seconds after a refusal."""
    now = session_end + random.uniform(0, 0.01)
    while now < session_end + config.lock_delay:
        now += config.lock_retry + random.uniform(0, 0.02)
    return now + random.uniform(0, config.takeover)


def crash(config: Config) -> float:
    last_renewal = -random.uniform(0, config.session_ttl / 2)
    return lock(config, last_renewal + 2 * config.session_ttl)


def server_back(config: Config) -> float:
    election = random.uniform(1, 2) * config.raft_multiplier
    return lock(config, election + random.uniform(0, config.replay) + 2 * config.session_ttl)


SIMULATED: list[tuple[str, Callable[[Config], float], Config, Callable[[Config], bounds.Bound]]] = [
    (
        "todo killed",
        lambda c: polled_check(c, False),
        Config(),
        lambda c: for_fault(c, "kill", "todo")["detected"],
    ),
    (
        "todo killed, 1 s",
        lambda c: polled_check(c, False),
        ONE,
        lambda c: for_fault(c, "kill", "todo")["detected"],
    ),
    (
        "todo paused",
        lambda c: polled_check(c, True),
        Config(),
        lambda c: for_fault(c, "pause", "todo")["detected"],
    ),
    ("vault check", renewed_check, Config(), lambda c: for_fault(c, "kill", "vault.leader")["detected"]),
    ("agent lost", gossip, Config(), lambda c: for_fault(c, "kill", "agent")["detected"]),
    ("leader killed", crash, Config(), lambda c: for_fault(c, "kill", "vault.leader")["leader"]),
    ("leader killed, 2 s", crash, FAST, lambda c: for_fault(c, "kill", "vault.leader")["leader"]),
    (
        "leader's node off",
        lambda c: lock(c, gossip(c)),
        Config(),
        lambda c: for_fault(c, "power_off", "vault.leader")["leader"],
    ),
    ("server back", server_back, Config(), lambda c: after_heal(c, "stop", "consul", 20)["leader_again"]),
    (
        "server back, slow raft",
        server_back,
        SLOW,
        lambda c: after_heal(c, "stop", "consul", 20)["leader_again"],
    ),
]


@pytest.mark.parametrize(("name", "rule", "config", "bound"), SIMULATED, ids=[row[0] for row in SIMULATED])
def test_the_rules_stay_inside_and_use_the_interval(
    name: str,
    rule: Callable[[Config], float],
    config: Config,
    bound: Callable[[Config], bounds.Bound],
) -> None:
    random.seed(name)
    allowed = bound(config)
    times = [rule(config) for _ in range(RUNS)]
    outside = [time for time in times if time not in allowed]
    assert len(outside) <= RUNS / 1000, f"{len(outside)} outside {allowed}, such as {outside[:3]}"
    # an interval that is much wider than what happens would prove nothing
    assert max(times) - min(times) > 0.4 * (allowed.hi - allowed.lo - ALLOWANCE)


MEASURED: list[tuple[str, str, str, Config, list[float]]] = [
    ("leader", "kill", "vault.leader", Config(), [44.3, 42.1, 43.9, 38.5, 40]),
    ("leader", "kill", "vault.leader", Config(session_ttl=10), [31.2, 32.7, 33.4]),
    ("leader", "kill", "vault.leader", Config(session_ttl=2), [19.0, 18.8, 18.3, 18.4]),
    ("leader", "power_off", "vault.leader", Config(), [20.4, 20.5, 21.4, 20.5]),
    ("detected", "power_off", "vault.leader", Config(), [5.31, 5.48, 6.39, 5.46]),
    ("leader", "stop", "vault.leader", Config(), [0.62, 0.58, 0.56, 0.56]),
    ("leader", "step_down", "vault.leader", Config(), [0.60, 0.60, 0.62, 0.61]),
    ("leader", "seal", "vault.leader", Config(), [0.58, 0.57, 0.83]),
    ("leader", "pause", "vault.leader", Config(), [43.2]),
    ("detected", "kill", "vault.standby", Config(), [2.56, 2.83, 2.00]),
    ("detected", "pause", "vault.leader", Config(), [4.2, 1.3, 1.0, 0.5, 2.0, 5.0, 1.8, 4.2, 1.9]),
    ("detected", "kill", "todo", Config(), [0.18, 3.31, 5.02]),
    ("detected", "pause", "todo", Config(), [1.11, 3.55, 5.96]),
    ("detected", "kill", "todo", ONE, [0.03, 0.63, 1.01]),
    ("detected", "pause", "todo", ONE, [1.01, 1.49, 2.00]),
    ("leader_lost", "stop", "consul", Config(), [10.5, 10.6, 10.0, 10.8]),
    ("leader_lost", "stop", "consul", SLOW, [8.8]),
]


@pytest.mark.parametrize(("time", "fault", "hit", "config", "measured"), MEASURED)
def test_what_was_measured_is_allowed(
    time: str, fault: str, hit: str, config: Config, measured: list[float]
) -> None:
    allowed = for_fault(config, fault, hit)[time]
    assert [value for value in measured if value not in allowed] == []


@pytest.mark.parametrize(
    ("config", "lasted", "measured"),
    [(Config(), 20, [46.7, 47.4, 47.9]), (Config(), 13, [48.1]), (SLOW, 20, [52.5])],
)
def test_the_leader_after_a_long_outage_of_the_server(
    config: Config, lasted: float, measured: list[float]
) -> None:
    allowed = after_heal(config, "stop", "consul", lasted)["leader_again"]
    assert [value for value in measured if value not in allowed] == []


def test_a_short_outage_of_the_server_has_another_bound() -> None:
    short = after_heal(Config(), "stop", "consul", 5)
    assert "leader_again" not in short  # usually it was never lost
    assert "leader_lost" not in for_fault(Config(), "stop", "consul", lasts=5)
    assert "leader_lost" in for_fault(Config(), "stop", "consul", lasts=20)
    assert all(value in short["secret_again"] for value in (0.1, 0.6, 3.9, 20.1))
    assert 40 not in short["secret_again"]


def test_a_server_out_of_reach_went_on_counting() -> None:
    cut = after_heal(Config(), "unplug", "consul", 20)
    assert all(value in cut["secret_again"] for value in (16.7, 21.1, 22.2, 25.4, 26.3, 32.1, 36.3, 51.6))
    assert 54 not in cut["secret_again"]
    assert "leader_lost" not in for_fault(Config(), "unplug", "consul"), "a question that hangs is no failure"
    assert "leader_lost" in for_fault(Config(), "stop", "consul")


def test_a_node_whose_cable_is_back_waits_for_gossip() -> None:
    back = after_heal(Config(), "unplug", "todo", 8)["returned"]
    assert all(value in back for value in (5.7, 10.3, 11.8, 28.4))
    assert 40 not in back
    assert after_heal(Config(), "kill", "todo", 8)["returned"].hi < back.hi


def test_both_vaults_restarted_quickly_do_not_help() -> None:
    allowed = after_heal(Config(), "kill", "vaults", 5)["leader_again"]
    assert all(total - 5 in allowed for total in (38.3, 41.6, 43.5))
    late = after_heal(Config(), "kill", "vaults", 80)["leader_again"]
    assert all(value in late for value in (0.42, 0.61))


def test_the_known_numbers() -> None:
    leader = for_fault(Config(), "kill", "vault.leader")["leader"]
    assert (leader.lo, round(leader.hi, 1)) == (37.5, 45.8)
    assert str(leader) == "37.5–45.8"
    assert for_fault(Config(), "stop", "todo")["lost"].hi == 0


def test_a_short_pause_is_no_failover() -> None:
    assert "leader" not in for_fault(Config(), "pause", "vault.leader", lasts=10)
    assert 10.5 in for_fault(Config(), "pause", "vault.leader", lasts=10)["outage"]
    assert "leader" in for_fault(Config(), "pause", "vault.leader", lasts=50)
    assert "outage" not in for_fault(Config(), "pause", "vault.leader", lasts=26)  # a coin toss


def test_the_lease_decides_only_in_mode_fail() -> None:
    assert "todo_fails" not in for_fault(Config(), "kill", "vaults")
    fails = for_fault(Config(on_vault_loss="fail"), "kill", "vaults")["todo_fails"]
    assert (round(fails.lo), round(fails.hi, 1)) == (18, 60.5)


@pytest.mark.parametrize("hit", bounds.SUBJECTS)
@pytest.mark.parametrize(
    "fault",
    [
        *("stop", "kill", "pause", "restart", "step_down", "seal", "leave", "maintenance"),
        *("power_off", "suspend", "unplug", "partition"),
    ],
)
def test_every_bound_can_fail_and_says_why(fault: str, hit: str) -> None:
    config = Config()
    every = for_fault(config, fault, hit) | after_heal(config, fault, hit, 20)
    for name, bound in every.items():
        assert 0 <= bound.lo <= bound.hi < 120, name
        assert bound.formula, name
        assert bound.source, name


@pytest.mark.parametrize(
    ("targets", "leader", "hit"),
    [
        (["todo0:todo"], None, "todo"),
        (["todo0:todo", "todo1:todo"], None, "todos"),
        (["todo0:agent"], "vault0", "agent"),
        (["todo0:agent", "todo0:todo"], "vault0", "todo"),
        (["vault0:vault"], "vault0", "vault.leader"),
        (["vault1"], "vault0", "vault.standby"),
        (["vault1"], None, "vault"),  # nobody leads, or nobody knows
        (["vault0:agent"], "vault0", "vault.leader:agent"),
        (["vault0", "vault1"], "vault0", "vaults"),
        (["mysql:mariadb"], None, "mysql"),
        (["consul:agent"], None, "consul"),
        (["todo0", "mysql"], None, "all"),
    ],
)
def test_subject(targets: list[str], leader: str | None, hit: str) -> None:
    assert subject(targets, leader) == hit


def test_the_configuration_comes_from_the_topology() -> None:
    config = Config.from_topology(description(), check_interval=2.0)
    assert (config.check_interval, config.agents, config.lock_delay) == (2.0, 6, 15.0)
    assert Config(**config.as_dict()) == config
    with pytest.raises(LabError, match="no setting 'speed'"):
        Config.from_topology(description(), speed=1)
    with pytest.raises(LabError, match="no 'check'"):
        Config.from_topology({})
    with pytest.raises(LabError, match="no subject"):
        for_fault(Config(), "kill", "moon")
    with pytest.raises(LabError, match="needs a target"):
        subject([])


def test_with_shallow_checks_no_todo_is_taken_out_and_none_waits_to_be_named() -> None:
    shallow, deep = Config(health="shallow"), Config()
    assert "todos_detected" not in for_fault(shallow, "stop", "mysql")
    assert "todos_detected" in for_fault(deep, "stop", "mysql")
    waits = {c.health: after_heal(c, "stop", "mysql", 7)["todo_again"].hi for c in (shallow, deep)}
    # the difference is what a check costs at worst
    assert waits["deep"] - waits["shallow"] == pytest.approx(deep.check_interval + deep.check_timeout)


def test_a_restart_of_the_database_is_an_outage_of_a_start_and_at_most_a_check() -> None:
    allowed = for_fault(Config(), "restart", "mysql")["outage"]
    assert 0.4 in allowed
    assert allowed.hi < after_heal(Config(), "stop", "mysql", 7)["todo_again"].hi + ALLOWANCE


@pytest.mark.parametrize("hit", ["todos", "vault.leader", "vaults"])
def test_maintenance_of_all_that_serve_is_not_promised_to_lose_nothing(hit: str) -> None:
    assert "lost" not in for_fault(Config(), "maintenance", hit)


@pytest.mark.parametrize("fault", ["power_off", "partition", "unplug", "suspend"])
def test_a_node_that_is_back_before_gossip_must_have_told_promises_no_leader(fault: str) -> None:
    early, late = (for_fault(Config(), fault, "vault.leader", lasts) for lasts in (3.0, 30.0))
    assert "leader" not in early
    assert "outage" not in early
    assert 20.5 in late["leader"]


def test_a_pause_of_two_sessions_is_a_crash() -> None:
    for lasts in (30, 33, 35, 37):
        assert 41.0 in for_fault(Config(), "pause", "vault.leader", lasts)["leader"]


@pytest.mark.parametrize("fault", ["power_off", "partition", "unplug", "suspend"])
def test_a_database_out_of_reach_is_seen_by_deep_checks_whether_it_refuses_or_is_silent(fault: str) -> None:
    allowed = for_fault(Config(), fault, "mysql")
    refused, silent = (for_fault(Config(), kind, "mysql")["todos_detected"] for kind in ("kill", "pause"))
    assert (allowed["todos_detected"].lo, allowed["todos_detected"].hi) == (refused.lo, silent.hi)
    assert 6.0 in allowed["detected"], "gossip takes the database's node out by itself"
    assert "todos_detected" not in for_fault(Config(health="shallow"), fault, "mysql")


@pytest.mark.parametrize("mode", ["hold", "fail"])
def test_both_vaults_without_power_cost_todo_what_both_killed_do(mode: str) -> None:
    off, killed = (for_fault(Config(on_vault_loss=mode), f, "vaults") for f in ("power_off", "kill"))
    (name,) = {"todo_lost", "todo_fails"} & set(killed)
    assert off[name] == killed[name]


def test_a_restart_of_the_server_is_short_unless_it_costs_vault_its_leader() -> None:
    allowed = for_fault(Config(), "restart", "consul")["outage"]
    short = after_heal(Config(), "stop", "consul", 1)["secret_again"]
    assert short.hi < allowed.hi < short.hi + 5, "the start comes on top"
