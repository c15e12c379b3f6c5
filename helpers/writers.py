"""Two users who write secrets through the two Vaults, and want back what was acknowledged.

Whether a cluster keeps its word is asked from outside: write numbered secrets, note which were acknowledged,
break something, and demand every acknowledged one afterwards. Vault's own test of its fencing has this shape,
with the same patience of 3 s.
"""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import hvac
import requests

from helpers import clients

if TYPE_CHECKING:
    from helpers.lab import Lab

PATIENCE = 3.0  # seconds that a writer waits for an answer
PAUSE = 0.1  # seconds between an answer and the next write
MOUNT = "secret/writers"  # a key-value store of the writers' own, under what the operator's policy allows


class Writer(threading.Thread):
    """Writes numbered secrets through one Vault, one after the other, until told to stop."""

    def __init__(self, lab: Lab, node: str) -> None:
        super().__init__(name=f"writer through {node}", daemon=True)
        self.node = node
        self.acknowledged: list[tuple[str, float]] = []  # each secret's name, and when its answer came
        self.stopping = threading.Event()
        token = lab.vault(node).token
        self.client = clients.vault(lab.address_of_vault(node), token, timeout=PATIENCE)

    def run(self) -> None:
        """Write; an error or a time-out is no acknowledgement, whatever became of the secret."""
        number = 0
        while not self.stopping.wait(PAUSE):
            name = f"{self.node}-{number}"
            try:
                self.client.secrets.kv.v1.create_or_update_secret(name, {"n": number}, mount_point=MOUNT)
                self.acknowledged.append((name, time.monotonic()))
            except (hvac.exceptions.VaultError, requests.RequestException):
                pass
            number += 1

    def silence(self, begun: float, ended: float) -> tuple[float, float]:
        """Return begin and end (monotonic seconds) of the longest time without an acknowledgement."""
        times = [begun, *(moment for _, moment in self.acknowledged), ended]
        return max(itertools.pairwise(times), key=lambda gap: gap[1] - gap[0])


class Writers:
    """One writer through each Vault, as a context manager: they write for as long as it is open."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.begun = self.ended = time.monotonic()
        self.each = [Writer(lab, node.name) for node in lab.topology.of("vault")]

    def __enter__(self) -> Writers:
        """Make a store that is empty, so that no secret of before is taken for one of now, and start both."""
        leader = self.lab.active_vault()
        leader.sys.disable_secrets_engine(MOUNT)
        leader.sys.enable_secrets_engine("kv", path=MOUNT, options={"version": "1"})
        self.begun = time.monotonic()
        for writer in self.each:
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End both; the last request of each ends within its patience."""
        for writer in self.each:
            writer.stopping.set()
        for writer in self.each:
            writer.join(2 * PATIENCE)
        self.ended = time.monotonic()

    def demand(self, zero: float | None = None) -> list[dict[str, Any]]:
        """Ask for every secret and say, for each writer, what was acknowledged and what of it is not there.

        `silent from` and `silent until` bound the longest time without an acknowledgement, in seconds
        from `zero` (monotonic; default: when the writers began). The store is removed afterwards. Asks the
        leading Vault; raises `LabError` when none leads.
        """
        leader, zero = self.lab.active_vault(), self.begun if zero is None else zero
        try:
            kept = leader.secrets.kv.v1.list_secrets("", mount_point=MOUNT)["data"]["keys"]
        except hvac.exceptions.InvalidPath:  # Vault's word for an empty list
            kept = []
        found = []
        for writer in self.each:
            names = {name for name, _ in writer.acknowledged}
            begin, end = writer.silence(self.begun, self.ended)
            found.append(
                {
                    "through": writer.node,
                    "acknowledged": len(names),
                    "silent from": round(begin - zero, 1),
                    "silent until": round(end - zero, 1),
                    "lost": len(names - set(kept)),
                }
            )
        leader.sys.disable_secrets_engine(MOUNT)
        return found
