"""Faults: what can be broken, planned purely and done in one call each.

A fault is a small class with three verbs: `plan` says what it would do and to whom (pure), `inject`
does it, `heal` undoes exactly that and may be called twice. A new kind is one class in one of these modules
and touches nothing else; its words travel in the plan, so that figures know no fault kinds.
"""

from __future__ import annotations

# Each registers its kinds, in the order in which a reader meets them.
# isort: off
from helpers.faults import programs, nodes, maintenance, network

# isort: on
from helpers.faults.maintenance import clear_maintenance, in_maintenance
from helpers.faults.planning import FAULTS, Plan, hold, lacking, plan

__all__ = [
    "FAULTS",
    "Plan",
    "clear_maintenance",
    "hold",
    "in_maintenance",
    "lacking",
    "maintenance",
    "network",
    "nodes",
    "plan",
    "programs",
]
