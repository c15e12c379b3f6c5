"""What the recorder asks: one small class per source.

A probe says what it asks (`choose`, `ask`) and what silence means for its lanes (`silence`);
when to ask is `helpers/schedule.py`'s matter, what a raw answer means `rows.state_of`'s.
The catalog is not asked but listened to: Consul answers a blocking query at the change.
"""

from __future__ import annotations

from helpers.probes.asking import Place
from helpers.probes.catalog import HOLD, PACE, Catalog
from helpers.probes.cluster import AgentChecks, Health, Leader, Name
from helpers.probes.processes import Processes
from helpers.probes.todos import Ledger, ReadWrite, Retry
from helpers.probes.users import Credential, Secret, Token
from helpers.probes.view import View, fold

__all__ = [
    "HOLD",
    "PACE",
    "AgentChecks",
    "Catalog",
    "Credential",
    "Health",
    "Leader",
    "Ledger",
    "Name",
    "Place",
    "Processes",
    "ReadWrite",
    "Retry",
    "Secret",
    "Token",
    "View",
    "fold",
]
