"""A standby Vault that could not take over: found by its session in Consul, and started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from helpers import vault_steps
from helpers.errors import LabError
from helpers.topology import Target
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

#: What Vault calls its sessions (Vault `physical/consul/consul.go`).
SESSION = "Vault Lock"
#: Seconds: one that stepped down has no session for 10 on purpose (Vault `vault/ha.go`), and a bit.
PAUSE = 11.0


def make_ready(lab: Lab) -> list[str]:
    """Start every standby again whose session has died, and return their names.

    A session dies with the health of its node: when an agent was lost, or when the echo of a partition calls
    a healthy node failed for a moment. Vault renews it no more, says nothing, and finds out when the lock is
    free: *invalid session*, and a pause of 10 s. Measured once, after a partition of another node: 33.1 s
    instead of 20–26 until it led. Asks once per standby; waits only where there is no session.
    """
    done = []
    for node in lab.topology.of("vault"):
        if vault_steps.role(lab.vault(node.name, token="")) != "standby" or _has_session(lab, node.name):
            continue
        try:
            until(lambda name=node.name: _has_session(lab, name), "A session", PAUSE)  # type: ignore[misc]
        except LabError:
            target = Target(node.name, "vault")
            lab.driver.stop([target])
            lab.driver.start([target])
            vault_steps.unseal(lab, node.name)
            done.append(node.name)
    return done


def _has_session(lab: Lab, node: str) -> bool:
    _, sessions = lab.consul().session.node(node)
    return any(session["Name"] == SESSION for session in sessions)
