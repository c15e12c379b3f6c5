"""How each time and count is found in a `Case`: what `helpers/quantities.py` names and draws.

Where a number cannot be found, `Missing` says why, and for how long it was looked for in vain: that decides
between broken and not enough data.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from helpers.bounds import FROZEN
from helpers.cases import USER_LANE, Case
from helpers.metrics import (
    Measured,
    Missing,
    Moment,
    asked,
    first,
    is_out,
    is_silent,
    is_unknown,
    is_up,
    leads,
    looked_at,
    outages,
)
from helpers.timeline import Lane, tick

Answer = Measured | Missing
TODO, SECRET = USER_LANE["todo"], USER_LANE["vault"]

#: Seconds without a question after which a count of failed requests says nothing.
BLIND = 2.0


def user_lane(case: Case) -> Lane:
    """Return the lane that stands for the users of the service that is hit."""
    return USER_LANE[case.service]


def _earliest(
    case: Case, moments: list[Moment | None], zero: float, lanes: list[Lane], what: str, until: float
) -> Answer:
    """The first of the moments; `until` is when it can no longer come, such as the heal for a detection.

    What comes later belongs to the heal or to the next fault.
    """
    if not lanes:
        return Missing(f"no probe recorded {what}")
    seen = [moment for moment in moments if moment is not None and moment.hi <= until]
    if not seen:
        return Missing(f"{what} was not seen", _watched(case, lanes, zero, until))
    best = min(seen, key=lambda moment: moment.hi)
    return best.since(zero)


def _watched(case: Case, lanes: list[Lane], zero: float, until: float) -> float:
    """Return for how many seconds from `zero` the lanes were looked at; unknown time is not looking."""
    return min(looked_at(lane.of(case.spans), zero, until) for lane in lanes)


def catalog_lanes(case: Case, node: str) -> list[Lane]:
    """The lanes in which Consul speaks about a node: its service's check, and its gossip."""
    return case.catalog(node, node.rstrip("0123456789")) + case.catalog(node, "serfHealth")


def _taken_out(case: Case, nodes: list[str]) -> Answer:
    """When the last of `nodes` is out, by the service's check or by its node's gossip."""
    latest: Answer = Missing("no node is hit")
    for node in nodes:
        lanes = catalog_lanes(case, node)
        moments = [first(case.lane(lane), is_out, case.begin) for lane in lanes]
        what = f"Consul's change of {node}"
        answer = _earliest(case, moments, case.begin, lanes, what, case.last_broken)
        if isinstance(answer, Missing):
            return answer
        if isinstance(latest, Missing) or answer.value > latest.value:
            latest = answer
    return latest


def detected(case: Case) -> Answer:
    """Time from the injection until Consul sends no client to the victim (the last of several)."""
    return _taken_out(case, case.nodes)


def returned(case: Case) -> Answer:
    """Time from the heal until Consul names the victim again."""
    if math.isnan(case.heal):
        return Missing("the fault was not healed")
    seen = detected(case)
    if isinstance(seen, Missing):
        return Missing("Consul had not taken it out")
    zero = max(case.heal, seen.at)
    back: Answer = Missing("no node is hit")
    for lane in (lane for node in case.nodes for lane in catalog_lanes(case, node)):
        if first(case.lane(lane), is_out, case.begin) is None:
            continue  # this one never kept clients away
        what = f"{lane.target}, named again,"
        answer = _earliest(case, [first(case.lane(lane), is_up, zero)], zero, [lane], what, case.end)
        if isinstance(answer, Missing):
            return answer
        if isinstance(back, Missing) or answer.value > back.value:
            back = answer
    if isinstance(back, Missing):
        return back
    return Measured(back.at - case.heal, back.resolution, back.n, case.heal, back.at)


def todos_detected(case: Case) -> Answer:
    """Time from the injection until Consul names no todo: all deep checks have failed."""
    nodes = todos(case)
    return _taken_out(case, nodes) if nodes else Missing("no probe recorded the todos")


def todos(case: Case) -> list[str]:
    """The todo nodes of which Consul's catalog was recorded."""
    return sorted({lane.target for lane in case.all_of("consul_catalog") if lane.check == "todo"})


def _of(case: Case, lane: Lane) -> pd.DataFrame:
    return lane.of(case.samples)


def _unasked(case: Case, rows: pd.DataFrame, until: float) -> float:
    """Return the longest time from the injection to `until` in which nobody was asked, in seconds."""
    sent = rows["sent"][rows["state"] != "unknown"].to_numpy(dtype=float)
    sent = np.sort(sent[(sent >= case.begin) & (sent <= until)])
    return float(np.diff(np.concatenate([[case.begin], sent, [until]])).max())


def outage(case: Case) -> Answer:
    """The longest outage of the service that is hit, by its users' requests through discovery."""
    lane = user_lane(case)
    rows = _of(case, lane)
    if rows.empty:
        return Missing(f"no probe recorded {lane.source} {lane.target}")
    found = outages(lane.of(case.records.samples[case.records.samples["sent"] <= case.end]))
    found = [each for each in found if each.end is None or each.end.hi >= case.begin]
    if not found:
        watched = case.end - case.begin
        resolution = max(tick(rows), _unasked(case, rows, case.end))  # what nobody asked about may be one
        return Measured(0.0, resolution, len(rows), case.begin, case.begin, watched)
    if found[-1].end is None:
        since = max(case.begin, found[-1].start.hi)
        return Missing("the outage had not ended", case.end - since)
    lengths = [length for each in found if (length := each.length()) is not None]
    return max(lengths, key=lambda length: length.value)


def window(case: Case) -> Answer:
    """Time from the injection to the end of the last failure before the heal.

    For a service of which a part is left: good and bad answers alternate, so that a run of
    `CONSECUTIVE` good ones may be luck.
    """
    rows = _of(case, user_lane(case))
    rows = rows[(rows["state"] != "unknown") & (rows["sent"] <= case.last_broken)]
    if rows.empty:
        return Missing("no probe recorded what users see")
    bad = np.flatnonzero((rows["state"] != "up").to_numpy())
    if not len(bad):
        watched = case.last_broken - case.begin
        resolution = max(tick(rows), _unasked(case, rows, case.last_broken))
        return Measured(0.0, resolution, len(rows), case.begin, case.begin, watched)
    t = rows["sent"].to_numpy(dtype=float)
    if bad[-1] + 1 >= len(t):
        return Missing("requests still failed", float(t[-1]) - case.begin)
    return Moment(float(t[bad[-1]]), float(t[bad[-1] + 1])).since(case.begin)


def restored(case: Case) -> Answer:
    """Time from the injection to the first of `CONSECUTIVE` good answers after the first failure."""
    rows = _of(case, user_lane(case))
    if rows.empty:
        return Missing("no probe recorded what users see")
    found = outages(rows)
    if not found:
        return Missing("no request failed")
    end = found[0].end
    return end.since(case.begin) if end else Missing("the outage had not ended", case.end - case.begin)


def failures(case: Case, lane: Lane, until: float) -> Answer:
    """Number of failed requests from the injection to `until`; a request that was not sent is none."""
    rows = asked(_of(case, lane))
    rows = rows[rows["sent"] <= until]
    if rows.empty:
        return Missing(f"no probe recorded {lane.source} {lane.target}")
    if (blind := _unasked(case, _of(case, lane), until)) > BLIND:
        return Missing(f"nobody was asked for {blind:.2g} s")
    return Measured(float((rows["state"] != "up").sum()), 0.0, len(rows))


def new_leader(case: Case) -> Answer:
    """Time from the injection until a Vault says that it leads; a frozen one does not count."""
    lanes = [
        lane for lane in case.all_of("vault") if case.fault not in FROZEN or lane.target not in case.nodes
    ]
    moments = [first(case.lane(lane), leads, case.begin) for lane in lanes]
    return _earliest(case, moments, case.begin, lanes, "a new leader", case.end)


def leader_again(case: Case) -> Answer:
    """Time from the heal until a Vault says that it leads."""
    if math.isnan(case.heal):
        return Missing("the fault was not healed")
    lanes = case.all_of("vault")
    moments = [first(case.lane(lane), leads, case.heal) for lane in lanes]
    return _earliest(case, moments, case.heal, lanes, "a new leader", case.end)


def leader_lost(case: Case) -> Answer:
    """Time from the injection until the leader says that it leads no longer."""
    lanes = [lane for lane in case.all_of("vault") if lane.target == case.leader]
    if not lanes:
        return Missing("no Vault led when the fault was injected")
    moments = [first(case.lane(lane), lambda s: ~leads(s) & ~is_unknown(s), case.begin) for lane in lanes]
    return _earliest(case, moments, case.begin, lanes, "the end of the leadership", case.last_broken)


def dns_silent(case: Case) -> Answer:
    """Time from the injection until DNS knows no answer (SERVFAIL or silence); a tick not asked is none."""
    lanes = case.all_of("dns")
    moments = [first(case.lane(lane), is_silent, case.begin) for lane in lanes]
    return _earliest(case, moments, case.begin, lanes, "a name without an answer", case.last_broken)


def _first_failure(case: Case, lane: Lane) -> Answer:
    rows = _of(case, lane)
    if rows.empty:
        return Missing(f"no probe recorded {lane.source} {lane.target}")
    found = outages(lane.of(case.records.samples[case.records.samples["sent"] <= case.end]))
    later = [each for each in found if case.begin <= each.start.hi <= case.last_broken]
    if not later:
        watched = looked_at(case.lane(lane), case.begin, case.last_broken)
        return Missing("no request failed", watched)
    return later[0].start.since(case.begin)


def _good_again(case: Case, lane: Lane) -> Answer:
    """Time from the heal to the end of the last outage; 0 when none lasted so long."""
    if math.isnan(case.heal):
        return Missing("the fault was not healed")
    rows = _of(case, lane)
    if rows.empty:
        return Missing(f"no probe recorded {lane.source} {lane.target}")
    found = [each for each in outages(rows) if each.end is None or each.end.hi >= case.heal]
    if not found:
        return Measured(0.0, tick(rows), len(rows), case.heal, case.heal)
    end = found[-1].end
    return end.since(case.heal) if end else Missing("the outage had not ended", case.end - case.heal)


def lost(case: Case) -> Answer:
    """Requests that users of the service lose between injection and heal."""
    return failures(case, user_lane(case), case.last_broken)


def todo_lost(case: Case) -> Answer:
    """Requests that users of todo lose, whatever was hit, to the end of the case.

    What todo stands on may be missed for as long after the heal as before: Vault and Consul come back slowly.
    """
    return failures(case, TODO, case.end)


def todo_fails(case: Case) -> Answer:
    """Time from the injection to the first failure of todo before the heal."""
    return _first_failure(case, TODO)


def writes_fail(case: Case) -> Answer:
    """Time from the injection to the first secret that cannot be written."""
    return _first_failure(case, SECRET)


def secret_again(case: Case) -> Answer:
    """Time from the heal until secrets are written for good."""
    return _good_again(case, SECRET)


def todo_again(case: Case) -> Answer:
    """Time from the heal until todos are written for good."""
    return _good_again(case, TODO)
