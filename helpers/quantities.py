"""What has a bound: each time and count that a fault is judged by, named and drawn, defined once.

How a number is found in a `Case` is in `helpers/measures.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from helpers import measures
from helpers.cases import Case
from helpers.measures import SECRET, TODO, Answer, user_lane
from helpers.metrics import first, is_out, leads
from helpers.timeline import Lane


@dataclass(frozen=True)
class Quantity:
    """Something that is predicted, allowed and measured.

    `words` name it for a reader, `short` beside a bracket, `also` are other names a prediction may
    use, `measure` finds it in a case, `lane` is where a figure draws it, `counts` says that it is a
    number of requests.
    """

    name: str
    words: str
    short: str
    measure: Callable[[Case], Answer]
    lane: Callable[[Case], Lane | None]
    counts: bool = False
    also: tuple[str, ...] = ()


def _taken_out_lane(case: Case, nodes: list[str]) -> Lane | None:
    """The lane in which `_taken_out` was seen: of the last node, the service's check or the node's gossip."""
    seen = []
    for node in nodes:
        moments = [
            (moment.hi, lane)
            for lane in measures.catalog_lanes(case, node)
            if (moment := first(case.lane(lane), is_out, case.begin))
        ]
        seen += [min(moments, key=lambda pair: pair[0])] if moments else []
    if seen:
        return max(seen, key=lambda pair: pair[0])[1]
    return next((lane for node in nodes for lane in measures.catalog_lanes(case, node)), None)


def _catalog_lane(case: Case) -> Lane | None:
    return _taken_out_lane(case, case.nodes)


def _leader_lane(case: Case, after: float) -> Lane | None:
    lanes = case.all_of("vault")
    moments = [(moment.hi, lane) for lane in lanes if (moment := first(case.lane(lane), leads, after))]
    return min(moments, key=lambda pair: pair[0])[1] if moments else None


def _new_leader_lane(case: Case) -> Lane | None:
    return _leader_lane(case, case.begin)


def _leader_again_lane(case: Case) -> Lane | None:
    return _leader_lane(case, case.last_broken)


def _todo(case: Case) -> Lane:  # noqa: ARG001
    return TODO


def _secret(case: Case) -> Lane:  # noqa: ARG001
    return SECRET


def _todo_catalog_lane(case: Case) -> Lane | None:
    return _taken_out_lane(case, measures.todos(case))


def _dns_lane(case: Case) -> Lane | None:
    return next(iter(case.all_of("dns")), None)


def _old_leader_lane(case: Case) -> Lane | None:
    return next((lane for lane in case.all_of("vault") if lane.target == case.leader), None)


QUANTITIES: dict[str, Quantity] = {
    each.name: each
    for each in (
        Quantity(
            "detected",
            "Consul takes it out",
            "noticed",
            measures.detected,
            _catalog_lane,
            also=("consul says critical",),
        ),
        Quantity(
            "outage",
            "outage for its users",
            "outage",
            measures.outage,
            user_lane,
            also=("longest outage", "secret readable again", "secret written again"),
        ),
        Quantity(
            "window", "requests fail for", "failures", measures.window, user_lane, also=("failures end",)
        ),
        Quantity(
            "leader",
            "a new leader",
            "new leader",
            measures.new_leader,
            _new_leader_lane,
            also=("new leader", "failover"),
        ),
        Quantity("restored", "users are served again", "served", measures.restored, user_lane),
        Quantity(
            "lost", "requests lost", "lost", measures.lost, user_lane, counts=True, also=("lost requests",)
        ),
        Quantity("todo_lost", "todo requests lost", "lost", measures.todo_lost, _todo, counts=True),
        Quantity("todo_fails", "the first todo fails", "fails", measures.todo_fails, _todo),
        Quantity("writes_fail", "the first secret fails", "fails", measures.writes_fail, _secret),
        Quantity(
            "todos_detected",
            "Consul names no todo",
            "no todo left",
            measures.todos_detected,
            _todo_catalog_lane,
        ),
        Quantity("dns_silent", "DNS has no answer", "silent", measures.dns_silent, _dns_lane),
        Quantity("leader_lost", "the leader gives up", "gives up", measures.leader_lost, _old_leader_lane),
        Quantity("returned", "Consul names it again", "named again", measures.returned, _catalog_lane),
        Quantity(
            "leader_again",
            "a leader again after the heal",
            "leads again",
            measures.leader_again,
            _leader_again_lane,
        ),
        Quantity("secret_again", "secrets again after the heal", "again", measures.secret_again, _secret),
        Quantity("todo_again", "todos again after the heal", "again", measures.todo_again, _todo),
    )
}
AFTER_HEAL = frozenset({"returned", "leader_again", "secret_again", "todo_again"})


def quantity(name: str) -> Quantity | None:
    """Return the quantity that a name or its words stand for, None if there is none."""
    wanted = name.casefold().strip()
    for each in QUANTITIES.values():
        if wanted in (each.name, each.words.casefold(), *each.also):
            return each
    return None
