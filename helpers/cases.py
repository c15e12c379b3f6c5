"""A fault in a recording: what was hit, when, when it was healed, and which lanes tell about it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from helpers import bounds, timeline
from helpers.clocks import Config
from helpers.records import Records
from helpers.timeline import Lane

#: The lane that stands for what users of a service see; MySQL's users are todo's.
USER_LANE = {
    "todo": Lane("todo", "host", "todo", "rw"),
    "mysql": Lane("todo", "host", "todo", "rw"),
    "vault": Lane("secret", "host", "vault", "write"),
    "consul": Lane("secret", "host", "vault", "write"),
}


@dataclass
class Case:
    """One injected fault: times are seconds since the run's start.

    `begin` is the start of the injection call and the zero of every time that counts from the
    injection; `heal` the start of the heal, NaN if there was none; `end` where the recording or the
    next fault ends what belongs to this one.
    """

    records: Records
    spans: pd.DataFrame
    fault: str
    label: str
    targets: list[str]
    begin: float
    heal: float
    end: float
    noted: dict[str, list[float]]
    params: dict[str, Any]
    failed: str = ""
    """Why the injection did not end as it should, one sentence; empty if it did."""

    @property
    def nodes(self) -> list[str]:
        """The nodes that are hit, each once."""
        return list(dict.fromkeys(target.partition(":")[0] for target in self.targets))

    @property
    def service(self) -> str:
        """The service of the first node that is hit: `todo`, `vault`, `mysql`, `consul`."""
        return self.nodes[0].rstrip("0123456789")

    @cached_property
    def samples(self) -> pd.DataFrame:
        """The samples from the injection to the end."""
        samples = self.records.samples
        return samples[(samples["sent"] >= self.begin) & (samples["sent"] <= self.end)]

    @property
    def last_broken(self) -> float:
        """The end of the fault: its heal, or where the case ends."""
        return self.end if math.isnan(self.heal) else self.heal

    @cached_property
    def leader(self) -> str | None:
        """The node whose Vault led when the fault was injected, by its own word."""
        spans = self.spans
        rows = spans[(spans["source"] == "vault") & (spans["raw"] == "200") & (spans["t0_hi"] <= self.begin)]
        rows = rows[rows["t1_hi"] >= self.begin - 1]
        return None if rows.empty else str(rows.iloc[-1]["target"])

    @property
    def subject(self) -> str:
        """What is hit, as `helpers.bounds` names it: as noted at the injection, or by what was recorded."""
        return str(self.params.get("hit") or bounds.subject(self.targets, self.leader))

    def bounds(self) -> dict[str, tuple[float, float]]:
        """Return the allowed intervals: by the run's configuration, else as noted at the injection."""
        if "config" not in self.records.info:
            return {name: (lo, hi) for name, (lo, hi) in self.noted.items()}
        config = Config(**self.records.info["config"])
        lasted = self.last_broken - self.begin
        healed = None if math.isnan(self.heal) else lasted
        found = bounds.for_fault(config, self.fault, self.subject, healed)
        if healed is not None:
            found |= bounds.after_heal(config, self.fault, self.subject, healed)
        return {name: (bound.lo, bound.hi) for name, bound in found.items()}

    def lane(self, lane: Lane) -> pd.DataFrame:
        """Return the spans of a lane."""
        return lane.of(self.spans)

    def catalog(self, node: str, check: str) -> list[Lane]:
        """Return the catalog lanes for one check of a node: one per agent that was asked."""
        spans = self.spans
        chosen = (spans["source"] == "consul_catalog") & (spans["target"] == node) & (spans["check"] == check)
        return timeline.lanes(spans[chosen])

    def all_of(self, source: str) -> list[Lane]:
        """Return the lanes of one source."""
        return timeline.lanes(self.spans[self.spans["source"] == source])


def cases(records: Records) -> list[Case]:
    """Return the faults of a recording in order; empty when none was injected."""
    spans = timeline.spans(records.samples)
    events = records.events
    injected = events[events["phase"] == "inject"]
    finish = float(records.samples["sent"].max()) if len(records.samples) else 0.0
    found = []
    for position, event in enumerate(injected.itertuples(index=False)):
        begin = float(injected["t_begin"].iloc[position])
        later = injected["t_begin"].iloc[position + 1 :]
        end = min([finish, *(float(t) for t in later[later > begin])])
        heals = events[
            (events["phase"] == "heal") & (events["t_begin"] >= begin) & (events["t_begin"] <= end)
        ]
        same = heals[heals["fault"].isin([event.fault, ""])]
        params = json.loads(str(event.params) or "{}")
        noted = json.loads(str(event.bounds) or "{}")
        for heal in same.itertuples(index=False):
            noted |= json.loads(str(heal.bounds) or "{}")
        found.append(
            Case(
                records=records,
                spans=spans,
                fault=str(event.fault),
                label=str(params.get("label") or event.message or f"{event.target}: {event.fault}"),
                targets=[str(target) for target in params.get("targets") or [event.target]],
                begin=begin,
                heal=float(same["t_begin"].min()) if len(same) else math.nan,
                end=end,
                noted=noted,
                params=params,
                failed="" if event.ok else f"the injection failed ({event.message})",
            )
        )
    return found
