"""Made-up recordings: the shapes of real ones, with every time chosen by the test.

Nothing here was measured. A scenario is a set of lanes; a lane is a function from the time
to what the source says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from helpers.records import Records, tables
from helpers.rows import COLUMNS, Sample, state_of

#: raw, error, latency in seconds (None: no answer of its own)
Answer = tuple[str, str, float | None]
Says = Callable[[float], Answer]


def ok(raw: str, ms: float = 4.0) -> Answer:
    return raw, "none", ms / 1000 * random.lognormvariate(0, 0.4)


def refused(raw: str = "") -> Answer:
    return raw, "refused", 0.0008


def silent(after: float = 2.0, raw: str = "") -> Answer:
    return raw, "timeout", after


def code(status: int, at: str = "", ms: float = 4.0) -> Answer:
    error = (
        "none" if status < 300 else "other" if status < 400 else "http_4xx" if status < 500 else "http_5xx"
    )
    return f"{status} {at}".strip(), error, ms / 1000 * random.lognormvariate(0, 0.4)


@dataclass
class Story:
    """Collects lanes and events, then becomes `Records`."""

    length: float
    title: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    rows: list[Sample] = field(default_factory=list)
    happened: list[dict[str, Any]] = field(default_factory=list)

    def polled(
        self, source: str, target: str, check: str, hz: float, says: Says, vantage: str = "host"
    ) -> None:
        phase = random.uniform(0, 1 / hz)
        for seq in range(int((self.length - phase) * hz)):
            due = phase + seq / hz
            raw, error, latency = says(due)
            done = float("nan") if latency is None else due + 0.0005 + latency
            state = state_of(source, raw, error)
            self.rows.append(
                Sample(seq, due, due + 0.0005, done, source, vantage, target, check, state, raw, error, None)
            )

    def catalog(
        self, node: str, check: str, changes: list[tuple[float, str]], vantage: str = "mysql"
    ) -> None:
        """`changes` are (time, raw); raw "?" is an agent that does not answer."""
        rows: list[tuple[float, str]] = []
        for position, (at, raw) in enumerate(changes):
            until = changes[position + 1][0] if position + 1 < len(changes) else self.length
            if position and raw != "?" and changes[position - 1][1] != "?":
                rows.append((at - 0.003, changes[position - 1][1]))
            step = 0.5 if raw == "?" else 2.0
            count = int((until - at) / step)
            rows += [(at + k * step, raw) for k in range(count + 1) if k == 0 or at + k * step < until - 0.01]
        for seq, (at, raw) in enumerate(rows):
            error = "http_5xx" if raw == "?" else "none"
            text = "" if raw == "?" else raw
            state = state_of("consul_catalog", text, error)
            self.rows.append(
                Sample(seq, at, at, at, "consul_catalog", vantage, node, check, state, text, error, 7)
            )

    def event(self, phase: str, at: float, **more: Any) -> None:
        row = {
            "id": len(self.happened) + 1,
            "t_begin": at,
            "t_end": more.pop("t_end", at + 0.01),
            "phase": phase,
        }
        defaults = {"fault": "", "target": "", "params": {}, "ok": True, "message": "", "bounds": {}}
        row |= defaults | more
        row["params"], row["bounds"] = json.dumps(row["params"]), json.dumps(row["bounds"])
        self.happened.append(row)

    def records(self) -> Records:
        samples = pd.DataFrame(self.rows, columns=COLUMNS)
        samples, events = tables(samples, pd.DataFrame(self.happened))
        return Records({"title": self.title, **self.info}, samples, events)


def todos(
    story: Story, bad: dict[str, tuple[float, float, Says]], removed: dict[str, tuple[float, float]]
) -> None:
    """The two instances directly, and through discovery at random among those not removed."""

    def direct(node: str) -> Says:
        def says(t: float) -> Answer:
            if node in bad and bad[node][0] <= t < bad[node][1]:
                raw, error, latency = bad[node][2](t)
                return f"{raw} @{node}".strip(), error, latency
            return ok(f"204 @{node}")

        return says

    def anyone(t: float) -> Answer:
        there = [n for n in ("todo0", "todo1") if not (n in removed and removed[n][0] <= t < removed[n][1])]
        return direct(random.choice(there))(t) if there else ("", "nxdomain", 0.001)

    for node in ("todo0", "todo1"):
        story.polled("todo", node, "rw", 8, direct(node))
    story.polled("todo", "todo", "rw", 8, anyone)


def names(changes: list[tuple[float, Answer]]) -> Says:
    def says(t: float) -> Answer:
        return next(answer for at, answer in reversed(changes) if at <= t)

    return says


def vaults(story: Story, zero: list[tuple[float, Answer]], one: list[tuple[float, Answer]]) -> None:
    for node, changes in (("vault0", zero), ("vault1", one)):
        story.polled("vault", node, "health", 4, names(changes))


def processes(story: Story, dead: dict[str, list[tuple[float, str]]]) -> None:
    for program in (
        "consul:agent",
        "vault0:vault",
        "vault1:vault",
        "mysql:mariadb",
        "todo0:todo",
        "todo0:agent",
    ):
        changes = [(0.0, "running"), *dead.get(program, [])]
        story.polled(
            "process",
            program,
            "process",
            10,
            lambda t, c=changes: (next(r for at, r in reversed(c) if at <= t), "none", 0.0001),
        )


def steady_vault(story: Story) -> None:
    vaults(story, [(0, ok("200"))], [(0, ok("429"))])
    story.polled("secret", "vault", "write", 4, lambda t: ok("204 @vault0", 10))
    for vantage in ("consul", "mysql"):
        story.catalog("vault0", "vault", [(0, "passing active")], vantage)
        story.catalog("vault1", "vault", [(0, "passing standby")], vantage)


def todo_killed(
    detected: float = 3.2, inject: float = 5.0, length: float = 25.0, heal: float = 15.0
) -> Records:
    random.seed(1)
    story = Story(length, "todo0 is killed", {"prediction": {"detected": 2.5}})
    seen = inject + detected
    todos(story, {"todo0": (inject, heal + 1, lambda t: refused())}, {"todo0": (seen, heal + 1.5)})
    steady_vault(story)
    for vantage in ("consul", "mysql"):
        story.catalog("todo0", "todo", [(0, "passing"), (seen, "critical"), (heal + 1.5, "passing")], vantage)
        story.catalog("todo1", "todo", [(0, "passing")], vantage)
        story.catalog("todo0", "serfHealth", [(0, "passing")], vantage)
    agent = [(0, ok("passing")), (seen - 0.01, ok("critical")), (heal + 1.5, ok("passing"))]
    story.polled("consul_agent", "todo0", "todo", 2, names(agent), "todo0")
    both, one = ok("todo0,todo1", 1), ok("todo1", 1)
    story.polled("dns", "todo", "A", 2, names([(0, both), (seen, one), (heal + 1.5, both)]), "mysql")
    processes(story, {"todo0:todo": [(inject, "gone"), (heal + 0.2, "running")]})
    story.event(
        "inject", inject, fault="kill", target="todo0", message="todo0: kill -9",
        params={"targets": ["todo0:todo"]}, bounds={"detected": [0.0, 5.5], "window": [0.0, 5.5]},
    )  # fmt: skip
    story.event("heal", heal, t_end=heal + 1.2, fault="kill", target="todo0", message="start")
    return story.records()


def leader_killed(
    failover: float = 40.1, detected: float = 1.9, heal: float = 62.0, length: float = 80.0
) -> Records:
    random.seed(2)
    info = {"prediction": {"secret readable again": 30, "todo requests lost": 0}}
    story = Story(length, "the Vault leader is killed", info)
    inject = 10.0
    back = inject + failover
    todos(story, {}, {})
    health0 = [(0, ok("200", 2)), (inject, refused()), (heal + 1, code(503)), (heal + 2, ok("429", 2))]
    health1 = [(0, ok("429", 2)), (inject + 6.4, code(474)), (back, ok("200", 2))]
    vaults(story, health0, health1)

    def write(t: float) -> Answer:
        if inject <= t < back:
            return refused("@vault0") if t < inject + detected else ("", "nxdomain", 0.001)
        return ok("204 @vault0" if t < inject else "204 @vault1", 10)

    story.polled("secret", "vault", "write", 4, write)
    for vantage in ("consul", "mysql"):
        zero = [(0, "passing active"), (inject + detected, "critical active"), (heal + 2, "passing standby")]
        story.catalog("vault0", "vault", zero, vantage)
        story.catalog("vault1", "vault", [(0, "passing standby"), (back + 0.05, "passing active")], vantage)
        story.catalog("todo0", "todo", [(0, "passing")], vantage)
        story.catalog("vault0", "serfHealth", [(0, "passing")], vantage)
    dns = [(0, ok("vault0", 1)), (inject + detected, ("", "nxdomain", 0.001)), (back + 0.05, ok("vault1", 1))]
    story.polled("dns", "active.vault", "A", 2, names(dns), "mysql")
    processes(story, {"vault0:vault": [(inject, "gone"), (heal, "running")]})
    story.event("steady", 0.0, t_end=inject)
    story.event(
        "inject", inject, fault="kill", target="vault.leader", message="vault0, the leader: kill -9",
        params={"targets": ["vault0:vault"]},
        bounds={"detected": [0.1, 5.5], "outage": [37.5, 45.8], "leader": [37.5, 45.8]},
    )  # fmt: skip
    story.event("heal", heal, t_end=heal + 2.1, fault="kill", target="vault.leader", message="start, unseal")
    return story.records()


def todo_paused(detected: float = 4.1) -> Records:
    random.seed(3)
    inject, heal, length = 6.0, 20.0, 32.0
    story = Story(length, "todo0 is paused", {"prediction": {"detected": 6}})
    seen = inject + detected
    todos(story, {"todo0": (inject - 0.1, heal - 2, lambda t: silent())}, {"todo0": (seen, heal + 0.1)})
    for vantage in ("consul", "mysql"):
        story.catalog("todo0", "todo", [(0, "passing"), (seen, "critical"), (heal + 0.1, "passing")], vantage)
        story.catalog("todo1", "todo", [(0, "passing")], vantage)
    both, one = ok("todo0,todo1", 1), ok("todo1", 1)
    story.polled("dns", "todo", "A", 2, names([(0, both), (seen, one), (heal + 0.1, both)]), "mysql")
    processes(story, {"todo0:todo": [(inject, "stopped"), (heal, "running")]})
    story.event(
        "inject", inject, fault="pause", target="todo0", message="todo0: paused",
        params={"targets": ["todo0:todo"], "drawing": {"color": "#CC79A7", "hatch": ".."}},
        bounds={"detected": [0.9, 6.5], "window": [0.0, 6.5]},
    )  # fmt: skip
    story.event("heal", heal, fault="pause", target="todo0", message="resume")
    return story.records()


def agent_lost(detected: float = 5.6) -> Records:
    random.seed(4)
    inject, heal, length = 6.0, 20.0, 30.0
    story = Story(length, "todo0's agent is lost, todo0 is fine", {"prediction": {"detected": 5}})
    seen, back = inject + detected, heal + 1.0
    todos(story, {}, {"todo0": (seen, back)})
    for vantage in ("consul", "mysql"):
        story.catalog("todo0", "todo", [(0, "passing")], vantage)
        story.catalog("todo1", "todo", [(0, "passing")], vantage)
        story.catalog("todo0", "serfHealth", [(0, "passing"), (seen, "critical"), (back, "passing")], vantage)
    both, one = ok("todo0,todo1", 1), ok("todo1", 1)
    story.polled("dns", "todo", "A", 2, names([(0, both), (seen, one), (back, both)]), "mysql")
    processes(story, {"todo0:agent": [(inject, "gone"), (heal, "running")]})
    story.event(
        "inject", inject, fault="kill", target="todo0:agent", message="todo0's agent: kill -9",
        params={"targets": ["todo0:agent"]}, bounds={"detected": [5.0, 10.7], "lost": [0, 0]},
    )  # fmt: skip
    story.event("heal", heal, fault="kill", target="todo0:agent", message="start")
    return story.records()


def server_stopped() -> Records:
    random.seed(5)
    inject, heal, length = 6.0, 26.0, 85.0
    story = Story(length, "the Consul server is away for 20 s", {"prediction": {"leader_again": 30}})
    away, again = inject + 10.4, heal + 47.4
    up = heal + 1.7
    todos(story, {}, {})
    vaults(
        story,
        [(0, ok("200", 2)), (away, code(500)), (up + 1, ok("429")), (again, ok("200", 2))],
        [
            (0, ok("429", 2)),
            (inject, code(500)),
            (up + 1, ok("429", 2)),
            (up + 11, code(474)),
            (again, ok("429")),
        ],
    )

    def write(t: float) -> Answer:
        if t < inject or t >= again:
            return ok("204 @vault0", 10)
        return (
            code(500, "@vault0")
            if t < away
            else ("", "servfail", 0.001)
            if t < up
            else ("", "nxdomain", 0.001)
        )

    story.polled("secret", "vault", "write", 4, write)
    vault0 = [(0, "passing active"), (inject, "?"), (up, "passing standby"), (again, "passing active")]
    story.catalog("vault0", "vault", vault0)
    story.catalog("vault1", "vault", [(0, "passing standby"), (inject, "?"), (up, "passing standby")])
    story.catalog("todo0", "todo", [(0, "passing"), (inject, "?"), (up, "passing")])
    gone = ("", "servfail", 0.002)
    dns = [(0, ok("vault0", 1)), (inject, gone), (up, ("", "nxdomain", 0.001)), (again, ok("vault0", 1))]
    story.polled("dns", "active.vault", "A", 2, names(dns), "mysql")
    both = ok("todo0,todo1", 1)
    story.polled("dns", "todo", "A", 2, names([(0, both), (inject, gone), (up, both)]), "mysql")
    known, nobody = ok("127.0.0.1:8300", 1), ("", "http_5xx", 0.002)
    story.polled(
        "consul_leader", "consul", "leader", 2, names([(0, known), (inject, nobody), (up, known)]), "mysql"
    )
    processes(story, {"consul:agent": [(inject, "gone"), (heal, "running")]})
    story.event(
        "inject", inject, fault="stop", target="consul", message="consul, the only server: TERM",
        params={"targets": ["consul:agent"]}, bounds={"leader_lost": [8.0, 11.5], "dns_silent": [0.0, 0.5]},
    )  # fmt: skip
    story.event(
        "heal", heal, t_end=heal + 0.1, fault="stop", target="consul", message="start",
        params={"targets": ["consul:agent"]}, bounds={"leader_again": [46.0, 49.0]},
    )  # fmt: skip
    return story.records()


STORIES = {f.__name__: f for f in (todo_killed, leader_killed, todo_paused, agent_lost, server_stopped)}
