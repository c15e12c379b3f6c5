"""How a figure looks and what it says: colours, hatches, names of lanes, words for answers.

Colours are Okabe and Ito's, which readers with any colour vision tell apart; every state that is
not good has a hatch too, so that a grey print says the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from helpers.timeline import Lane

BLUE, SKY, VERMILION, YELLOW, GREY = "#0072B2", "#8CC4EE", "#D55E00", "#F0E442", "#DDDDDD"
ORANGE, PURPLE = "#E69F00", "#CC79A7"


@dataclass(frozen=True)
class Look:
    """Colour of the face, hatch, colour of the text on it, and its name in the legend."""

    face: str
    hatch: str
    text: str
    name: str


LEADS = Look(BLUE, "", "white", "leads")
UP = Look(SKY, "", "black", "up")
DEGRADED = Look(YELLOW, "\\\\\\", "black", "degraded")
DOWN = Look(VERMILION, "///", "black", "down")
UNKNOWN = Look(GREY, "...", "black", "unknown")


@dataclass(frozen=True)
class Drawing:
    """How a fault is drawn in the strip; a fault brings its own in its event's params (`drawing`)."""

    color: str = "#C8C8C8"
    hatch: str = ""
    label: str = ""

    @classmethod
    def of(cls, params: dict[str, Any], label: str) -> Drawing:
        """Return the drawing that an event's params hold; `label` if they name none."""
        given = params.get("drawing") or {}
        return cls(given.get("color", cls.color), given.get("hatch", ""), given.get("label", label))


def look(lane: Lane, state: str, raw: str) -> Look:
    """Return how a span looks."""
    if state == "up" and ((lane.source == "vault" and raw == "200") or raw == "passing active"):
        return LEADS
    return {"up": UP, "degraded": DEGRADED, "down": DOWN}.get(state, UNKNOWN)


GROUPS = ("what a user sees", "what Consul says", "what is so")


def group(lane: Lane) -> int:
    """Return which of `GROUPS` a lane belongs to."""
    if lane.source in ("todo", "secret") and lane.target in ("todo", "vault"):
        return 0
    if lane.source == "credential":
        return 0
    return 1 if lane.source.startswith("consul") or lane.source == "dns" else 2


def title(lane: Lane) -> str:
    """Return the name of a lane, as a reader reads it at the left of its row."""
    node = lane.target.partition(":")[0]
    match lane.source:
        case "todo":
            through = {"rw-retry": "with one retry", "ledger": "a todo that stays"}
            if lane.check in through:
                return through[lane.check]
            return "a todo is written" if lane.target == "todo" else f"{node} itself"
        case "secret":
            return "a secret is written" if lane.target == "vault" else f"a secret at {node}"
        case "credential":
            return "a fresh credential"
        case "vault":
            return f"{node} itself"
        case "process":
            program = lane.target.partition(":")[2]
            own = program in (node.rstrip("0123456789"), "mariadb") or node == "consul"
            return f"{node}'s process" if own else f"{node}'s {program}"
        case "dns":
            return f"DNS: {lane.target}"
        case "consul_leader":
            return "Consul's leader"
        case "consul_agent":
            return f"agent on {lane.vantage}"
    return f"Consul: node {node}" if lane.check == "serfHealth" else f"Consul on {node}"


_VAULT = {
    "200": ("leader",),
    "429": ("standby",),
    "473": ("standby",),
    "474": ("standby, leader unreachable", "no leader"),
    "503": ("sealed",),
    "501": ("not initialized",),
    "500": ("storage unreachable", "no storage", "500"),
}
_CATALOG = {
    "passing active": ("passing, tag active", "active"),
    "passing standby": ("passing, tag standby", "standby"),
    "critical active": ("critical, still tagged active", "critical"),
    "critical standby": ("critical, tag standby", "critical"),
}
_ERROR = {
    "refused": ("refused",),
    "timeout": ("no answer",),
    "reset": ("cut off",),
    "nxdomain": ("no such name", "none"),
    "servfail": ("discovery fails", "fails"),
    "http_5xx": ("error 5xx", "5xx"),
    "http_4xx": ("error 4xx", "4xx"),
    "overrun": ("no answer",),
    "other": ("no answer",),
}


def words(lane: Lane, state: str, raw: str) -> tuple[str, ...]:
    """Return what a span says, the longest text first; a figure takes the first that fits."""
    if state == "unknown":
        why = {"not asked": "not asked", "servfail": "SERVFAIL"}.get(raw, "no answer")
        return (f"unknown: {why}", "unknown")
    if lane.source == "vault":
        return _VAULT.get(raw) or _ERROR.get(raw) or (raw,)
    if lane.source.startswith("consul_") and lane.source != "consul_leader":
        return _CATALOG.get(raw, (raw,))
    if lane.source == "consul_leader":
        return ("has a leader", "leader") if state == "up" else ("no leader",)
    if lane.source == "process":
        return {"stopped": ("frozen",), "running": ("runs",), "gone": ("no process", "gone")}.get(raw, (raw,))
    if lane.source == "dns" and state == "up":
        return (raw.replace(",", ", "), raw.replace("todo", "").replace("vault", ""))
    if state == "up":
        return ("ok",)
    if raw == "nxdomain":
        return ("nobody to ask", "nobody")
    return _ERROR.get(raw) or (f"fails: {raw}", raw)
