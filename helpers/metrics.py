"""What is measured, each defined in one place, each number with its resolution.

Times are seconds. A moment is known to lie between two samples: its value is the middle, its
resolution half the distance. What has a bound is in `helpers/quantities.py`;
availability, latency, hops and error budget describe a run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from helpers import rows as kept
from helpers.cases import USER_LANE, Case
from helpers.timeline import UNASKED, tick

#: Consecutive good answers after which an outage counts as over: one lucky answer is no recovery.
CONSECUTIVE = 5
#: Service level objective and its period for the error budget: 99.9 % over 30 days is 2592 s.
OBJECTIVE = 0.999
PERIOD = 30 * 24 * 3600.0


@dataclass(frozen=True)
class Measured:
    """A number, how far off it may be (same unit), and from how many samples it is.

    `since` and `at` are the run's seconds it counts from and to; NaN for what is not a time. `watched` is for
    a zero that says that nothing happened: the seconds in which it could have.
    """

    value: float
    resolution: float
    n: int
    since: float = math.nan
    at: float = math.nan
    watched: float = math.inf

    def __str__(self) -> str:
        """Return the number as a reader needs it: a count as it is, seconds with one decimal, under 1 two."""
        if self.resolution == 0:
            return f"{self.value:g}"
        return f"{self.value:.{1 if abs(self.value) >= 1 else 2}f}"


@dataclass(frozen=True)
class Missing:
    """Why there is no number, and for how many seconds it was looked for in vain."""

    reason: str
    watched: float = 0.0


# ---- moments ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """A transition between two samples."""

    lo: float
    hi: float

    def since(self, zero: float) -> Measured:
        """Return the time from `zero` to this moment."""
        lo = max(self.lo, zero)
        middle = (lo + self.hi) / 2
        return Measured(middle - zero, (self.hi - lo) / 2, 1, zero, middle)


Predicate = Callable[[pd.DataFrame], pd.Series]


def first(spans: pd.DataFrame, wanted: Predicate, after: float) -> Moment | None:
    """Return when the first wanted span of one lane begins after a time, None if none does.

    A hole or an unknown state before it makes the moment less certain, never later; what was wanted on
    both sides of a hole went on, and does not begin again.
    """
    spans = spans.sort_values("t0_hi")
    lo, state = spans["t0_lo"].to_numpy(), spans["state"].to_numpy()
    matches = wanted(spans).to_numpy(dtype=bool)
    known = np.flatnonzero((state != "unknown") | matches)
    begins = known[matches[known] & ~np.concatenate([[False], matches[known][:-1]])] if len(known) else known
    hit = begins[spans["t0_hi"].to_numpy()[begins] >= after]
    if not len(hit):
        return None
    position = int(hit[0])
    earliest = position
    while earliest and state[earliest - 1] == "unknown" and state[position] != "unknown":
        earliest -= 1
    return Moment(float(max(lo[earliest], after)), float(spans["t0_hi"].iloc[position]))


def is_out(spans: pd.DataFrame) -> pd.Series:
    """Return which spans of a catalog lane keep clients away: critical, warning or absent."""
    return spans["state"].isin(["down", "degraded"])


def is_up(spans: pd.DataFrame) -> pd.Series:
    """Return which spans are up."""
    return spans["state"] == "up"


def is_unknown(spans: pd.DataFrame) -> pd.Series:
    """Return which spans are unknown."""
    return spans["state"] == "unknown"


def is_silent(spans: pd.DataFrame) -> pd.Series:
    """Return which spans say that somebody was asked and had no answer; not asked is another thing."""
    return is_unknown(spans) & ~spans["raw"].isin([*kept.NOT_ASKED, UNASKED])


def leads(spans: pd.DataFrame) -> pd.Series:
    """Return which spans of a Vault's health say that it is active."""
    return spans["raw"] == "200"


# ---- outages ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Outage:
    """From the first failure to the first of `CONSECUTIVE` good answers; `end` is None while it lasts."""

    start: Moment
    end: Moment | None
    failed: int
    sent: int

    def length(self) -> Measured | None:
        """Return how long it lasted, None while it does."""
        if self.end is None:
            return None
        begin, finish = (self.start.lo + self.start.hi) / 2, (self.end.lo + self.end.hi) / 2
        width = (self.start.hi - self.start.lo + self.end.hi - self.end.lo) / 2
        return Measured(finish - begin, width, self.sent, begin, finish)


def asked(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the samples that are a request of a user: asked, and not by a recorder that slept."""
    return rows[(rows["state"] != "unknown") & (rows["error"] != "overrun")]


def outages(rows: pd.DataFrame, k: int = CONSECUTIVE) -> list[Outage]:
    """Return the outages in the samples of one user lane.

    Overruns count with the state that they stand for; a sample that was not asked is left out.
    """
    rows = rows[rows["state"] != "unknown"].sort_values("sent")
    t = rows["sent"].to_numpy(dtype=float)
    good = (rows["state"] == "up").to_numpy(dtype=bool)
    bad = np.concatenate([[0], np.cumsum(~good)])
    steady = np.flatnonzero(bad[k:] == bad[:-k]) if len(t) >= k else np.array([], dtype=int)
    found: list[Outage] = []
    failing = np.flatnonzero(~good)
    position = 0
    while position < len(failing):
        begin = int(failing[position])
        after = steady[steady > begin]
        stop = int(after[0]) if len(after) else len(t)
        start = Moment(float(t[max(0, begin - 1)]), float(t[begin]))
        end = Moment(float(t[stop - 1]), float(t[stop])) if stop < len(t) else None
        found.append(Outage(start, end, int(bad[stop] - bad[begin]), stop - begin))
        position = int(np.searchsorted(failing, stop))
    return found


# ---- what describes a run --------------------------------------------------------------


def looked_at(spans: pd.DataFrame, begin: float, end: float) -> float:
    """Return the seconds of a window in which the state of a lane was known."""
    known = spans[spans["state"] != "unknown"]
    lengths = known["t1_hi"].clip(upper=end) - known["t0_hi"].clip(lower=begin)
    return float(lengths.clip(lower=0).sum())


def availability(rows: pd.DataFrame) -> Measured:
    """Return the share of a user lane's requests that succeeded; n is how many were sent."""
    rows = asked(rows)
    n = len(rows)
    return Measured(float((rows["state"] == "up").mean()) if n else math.nan, 1 / n if n else math.nan, n)


def availability_in_time(spans: pd.DataFrame, begin: float, end: float) -> Measured:
    """Return the share of the known time of a window that one lane was up.

    Unknown time counts neither as up nor as down. A transition is taken in the middle between its two
    samples; the sum of those distances is the resolution. It differs from the share of requests when
    requests hang.
    """
    lengths = _middle(spans, "t1").clip(max=end) - _middle(spans, "t0").clip(min=begin)
    lengths = lengths.clip(min=0)
    state = spans["state"].to_numpy(dtype=object)
    known, up = float(lengths[state != "unknown"].sum()), float(lengths[state == "up"].sum())
    inside = spans[(spans["t1_lo"] >= begin) & (spans["t0_hi"] <= end)]
    vague = float((inside["t0_hi"] - inside["t0_lo"]).sum())
    return Measured(up / known if known else math.nan, vague / known if known else math.nan, len(inside))


def error_budget(bad: float, objective: float = OBJECTIVE, period: float = PERIOD) -> float:
    """Return the share of the error budget that `bad` seconds without service use up."""
    return bad / ((1 - objective) * period)


def latency(rows: pd.DataFrame) -> dict[str, Measured]:
    """Return p50, p95, p99 and the longest latency of the good answers, in milliseconds.

    A percentile is the answer at that rank, and its resolution the larger distance to a neighbour by rank:
    with few samples a p99 is the maximum, and with one nothing says how far off it is.
    """
    good = rows[(rows["state"] == "up") & rows["done"].notna()]
    took = np.sort((good["done"] - good["sent"]).to_numpy(dtype=float) * 1000)
    found = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)):
        if not len(took):
            found[name] = Measured(math.nan, math.nan, 0)
            continue
        rank = math.ceil(share * len(took)) - 1
        beside = np.abs(took[max(0, rank - 1) : rank + 2] - took[rank])
        found[name] = Measured(
            float(took[rank]), float(beside.max()) if len(took) > 1 else math.nan, len(took)
        )
    return found


def both(one: pd.DataFrame, other: pd.DataFrame, begin: float, end: float) -> float:
    """Return the seconds of a window in which a span of one table overlaps one of the other."""
    starts = np.maximum.outer(_middle(one, "t0"), _middle(other, "t0")).clip(min=begin)
    stops = np.minimum.outer(_middle(one, "t1"), _middle(other, "t1")).clip(max=end)
    return float((stops - starts).clip(min=0).sum())


def _middle(spans: pd.DataFrame, edge: str) -> np.ndarray:
    """Return the middle of an edge (`t0` or `t1`) of each span."""
    lo, hi = spans[f"{edge}_lo"].to_numpy(dtype=float), spans[f"{edge}_hi"].to_numpy(dtype=float)
    middle: np.ndarray = (lo + hi) / 2
    return middle


def _process(case: Case, node: str) -> pd.DataFrame:
    program = {"mysql": "mariadb", "consul": "agent"}.get(case.service, case.service)
    return case.spans[(case.spans["source"] == "process") & (case.spans["target"] == f"{node}:{program}")]


def _catalog(case: Case, node: str, check: str) -> pd.DataFrame:
    """The catalog's word on a check by one agent that was asked, not that of a victim if another was."""
    lanes = sorted(case.catalog(node, check), key=lambda lane: lane.vantage in case.nodes)
    return case.lane(lanes[0]) if lanes else case.spans.iloc[:0]


def undetected(case: Case, node: str) -> float:
    """Return the seconds in which a node's program did not run and Consul still named it.

    NaN when the process or the catalog was not recorded (a virtual machine's processes are not).
    """
    dead, named = _process(case, node), _catalog(case, node, case.service)
    gossip = _catalog(case, node, "serfHealth")
    if dead.empty or named.empty:
        return math.nan
    dead = dead[is_out(dead)]
    named, lost = named[is_up(named)], gossip[is_out(gossip)]
    seconds = both(dead, named, case.begin, case.end)
    return max(0.0, seconds - both(dead, lost, case.begin, case.end)) if len(lost) else seconds


def removed_though_healthy(case: Case, node: str) -> float:
    """Return the seconds in which a node's program ran and Consul sent nobody to it; NaN as `undetected`."""
    running = _process(case, node)
    service, gossip = _catalog(case, node, case.service), _catalog(case, node, "serfHealth")
    if running.empty or (service.empty and gossip.empty):
        return math.nan
    running = running[is_up(running)]
    service, gossip = service[is_out(service)], gossip[is_out(gossip)]
    by_service = both(running, service, case.begin, case.end)
    by_gossip = both(running, gossip, case.begin, case.end)
    return max(by_service, by_gossip, by_service + by_gossip - both(service, gossip, case.begin, case.end))


def hops(case: Case) -> pd.DataFrame:
    """Return how the news of a fault travels: one row per hop, seconds since the injection.

    Process (the operating system), agent (its own check), catalog, DNS (without the victim), and the
    first of five good answers to a user. A hop that was not recorded or did not happen is missing.
    """
    node = case.nodes[0]
    spans = case.spans
    agent = spans[
        (spans["source"] == "consul_agent") & (spans["target"] == node) & (spans["check"] == case.service)
    ]
    name = {"vault": "active.vault"}.get(case.service, case.service)
    dns = spans[(spans["source"] == "dns") & (spans["target"] == name)]
    catalog = spans[(spans["source"] == "consul_catalog") & (spans["target"] == node)]
    catalog = catalog[catalog["check"].isin([case.service, "serfHealth"])]
    users = USER_LANE[case.service].of(case.samples)
    moments = {
        "process": first(_process(case, node), is_out, case.begin),
        "agent": first(agent, is_out, case.begin),
        "catalog": _first_of(catalog, is_out, case.begin),
        "DNS": first(dns, lambda s: ~s["raw"].str.contains(node) & ~is_unknown(s), case.begin),
        "users": next((each.end for each in outages(users)), None),
    }
    rows = [
        (hop, measured.value, measured.resolution)
        for hop, moment in moments.items()
        if moment is not None and (measured := moment.since(case.begin))
    ]
    return pd.DataFrame(rows, columns=["hop", "seconds", "resolution"])


def _first_of(spans: pd.DataFrame, wanted: Predicate, after: float) -> Moment | None:
    """Return the earliest moment over all lanes of a table of spans."""
    groups = spans.groupby(["source", "vantage", "target", "check"], observed=True)
    moments = [moment for _, lane in groups if (moment := first(lane, wanted, after)) is not None]
    return min(moments, key=lambda moment: moment.hi, default=None)


def summary(case: Case) -> pd.DataFrame:
    """Return the numbers that describe what users saw of a fault, one row each.

    Columns: `metric`, `value`, `resolution`, `n`, `unit`. The window is injection to end.
    """
    lane = USER_LANE[case.service]
    rows = lane.of(case.samples)
    before = lane.of(case.records.samples)
    before = before[before["sent"] < case.begin]
    found = outages(rows)
    lengths = [length for each in found if (length := each.length()) is not None]
    longest = max(lengths, key=lambda length: length.value, default=None)
    share = availability(rows)
    bad = (1 - share.value) * (case.end - case.begin)
    step = tick(rows)
    lines: list[tuple[str, Measured, str]] = [
        ("availability by requests", share, "share"),
        ("availability by time", availability_in_time(case.lane(lane), case.begin, case.end), "share"),
        ("outages", Measured(len(found), 0, len(rows)), ""),
        ("longest outage", longest or Measured(0 if not found else math.nan, step, len(rows)), "s"),
        ("error budget used", Measured(error_budget(bad), error_budget(step), share.n), "share of 30 days"),
    ]
    for node in case.nodes:
        lines.append((f"{node} not running, undetected", Measured(undetected(case, node), step, 1), "s"))
        removed = Measured(removed_though_healthy(case, node), step, 1)
        lines.append((f"{node} running, removed", removed, "s"))
    for when, part in (("before", before), ("during", rows[rows["sent"] < case.last_broken])):
        lines += [(f"latency {name} {when}", value, "ms") for name, value in latency(part).items()]
    return pd.DataFrame(
        [(name, m.value, m.resolution, m.n, unit) for name, m, unit in lines],
        columns=["metric", "value", "resolution", "n", "unit"],
    )
