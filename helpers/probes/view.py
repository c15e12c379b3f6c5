"""The catalog as one agent tells it, and whom a client would be sent to by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_NODE_CHECKS = frozenset({"serfHealth", "_node_maintenance"})
_WORST = {"passing": 0, "warning": 1, "critical": 2}


@dataclass
class View:
    """The catalog as one agent tells it: raw status per (node, check); None while it is silent."""

    raw: dict[tuple[str, str], str] | None = None

    def passing(self, service: str, tag: str = "") -> list[str]:
        """Return the nodes whose instance of a service a client would be sent to.

        As Consul's own filter does it: every check of the instance and of its node passes.
        A tag alone is not enough: a killed leader keeps its tag `active`.
        """
        raw = self.raw or {}
        wanted = f"passing {tag}".strip()
        failed = {n for (n, c), r in raw.items() if c in _NODE_CHECKS and r != "passing"}
        return sorted(
            node
            for (node, check), text in raw.items()
            if check == service and text.startswith(wanted) and node not in failed
        )


def fold(checks: Iterable[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Return one raw status per (node, service or node check) from Consul's check entries.

    A service counts with the worst of its checks (maintenance adds one), as in Consul.
    Vault's role is in its tags, `active` or `standby`, and goes behind the status.
    """
    folded: dict[tuple[str, str], str] = {}
    for entry in checks:
        lane = entry["Node"], entry["ServiceName"] or entry["CheckID"]
        status = entry["Status"]
        tags = entry.get("ServiceTags") or ()
        role = next((f" {tag}" for tag in ("active", "standby") if tag in tags), "")
        known = folded.get(lane, "passing").partition(" ")[0]
        folded[lane] = max(status, known, key=_WORST.__getitem__) + role
    return folded
