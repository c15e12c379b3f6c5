"""The clocks of Consul and Vault: how long each step takes at least and at most.

One function per rule, pure in the configuration; each names its source and what a real lab
measured. `helpers/bounds.py` puts the rules together for the faults. Lower ends carry no
allowance: nothing makes a protocol faster.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from helpers.errors import LabError

#: Seconds added to the upper end of every interval for a machine that does not run a ready process
#: at once. Two cores carry nine processes of the lab, the recorder and the notebook; with a load of
#: 3 to 17 the protocol's own times were met within 0.2 s, an RPC chain of three hops within 0.5 s.
ALLOWANCE = 0.5


@dataclass(frozen=True)
class Bound:
    """An allowed interval in seconds (or a count), how it is computed, and where that is from."""

    lo: float
    hi: float
    formula: str
    source: str

    def __contains__(self, value: float) -> bool:
        """Return whether a value lies in the interval, ends included."""
        return self.lo <= value <= self.hi

    def __str__(self) -> str:
        """Return the interval as a reader sees it: `37.5–45.8`."""
        return f"{self.lo:.3g}–{self.hi:.3g}" if self.lo != self.hi else f"{self.lo:.3g}"


@dataclass(frozen=True)
class Config:
    """The settings that decide how long anything takes; seconds unless said otherwise.

    Those with a place in `lab/topology.yaml` come first (`from_topology` reads them), then the
    defaults of Consul 1.22 and Vault 1.21 that the lab leaves alone.
    """

    check_interval: float = 5.0
    check_timeout: float = 1.0
    raft_multiplier: int = 1
    session_ttl: float = 15.0
    lease: float = 60.0
    agents: int = 6
    on_vault_loss: str = "hold"
    health: str = "deep"
    #: Share of the lease after which todo asks for the next credential, at the latest.
    renew_at: float = 0.70
    #: Consul `agent/session_endpoint.go`: lock-delay unless the session asks for another; Vault cannot ask.
    lock_delay: float = 15.0
    #: Consul `api/lock.go`: pause between attempts at a lock that is in its lock-delay.
    lock_retry: float = 5.0
    #: Vault `vault/ha.go`: pause after a failed attempt to take the lock, as when Consul has no server.
    vault_retry: float = 10.0
    #: Vault `physical/consul`: tries of its lock monitor, and Consul `api/lock.go`: pause between them.
    monitor_retries: int = 5
    monitor_pause: float = 2.0
    #: Vault `serviceregistration/consul`: TTL of its check, and the longest pause between two renewals.
    vault_check_ttl: float = 5.0
    vault_check_renewal: float = 4.9
    #: memberlist's LAN defaults: probe interval, suspicion multiplier, gossip interval.
    serf_probe: float = 1.0
    serf_suspicion: float = 4.0
    serf_gossip: float = 0.2
    #: memberlist's exchange of whole states and serf's attempts to reconnect: one each in this time.
    serf_sync: float = 30.0
    #: Longest part of its time-out that a check in flight has used up when its service freezes.
    check_duration: float = 0.1
    #: Longest orderly change of leaders: release, take-over, post-unseal. Measured 0.56 to 0.83.
    handover: float = 1.0
    #: From the lock to an active Vault; measured 0.0 to 0.2.
    takeover: float = 0.3
    #: Longest replay of a Consul server's log. There are at most 16,384 entries to replay: then a snapshot is
    #: taken (`raft_snapshot_threshold`). Measured 1.7 s for 11,217 entries, 2.0 s for 15,534.
    replay: float = 2.5
    #: Start of a program until it serves: a Python service, a Vault with its unsealing, a database.
    start: float = 3.0

    @classmethod
    def from_topology(cls, raw: dict[str, Any], **changes: Any) -> Config:
        """Return the configuration that `lab/topology.yaml` (its dictionary) describes.

        `changes` are fields that an experiment sets otherwise. Raises `LabError` for a missing
        setting or a field that does not exist.
        """
        try:
            settings: dict[str, Any] = {
                "check_interval": float(raw["check"]["interval"]),
                "check_timeout": float(raw["check"]["timeout"]),
                "raft_multiplier": int(raw["consul"]["raft_multiplier"]),
                "session_ttl": float(raw["vault"]["session_ttl"]),
                "lease": float(raw["database"]["lease"]),
                "agents": sum(not node.get("spare", False) for node in raw["nodes"].values()),
                "on_vault_loss": str(raw["todo"]["on_vault_loss"]),
                "health": str(raw["todo"]["health"]),
            }
        except KeyError as error:
            raise LabError(f"The topology has no {error.args[0]!r}; see lab/topology.yaml.") from error
        unknown = sorted(set(changes) - set(cls.__dataclass_fields__))
        if unknown:
            known = ", ".join(cls.__dataclass_fields__)
            raise LabError(f"Bounds know no setting {unknown[0]!r}; the settings are {known}.")
        return cls(**(settings | changes))

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold; `Config(**it)` is the way back."""
        return asdict(self)


NOTHING = Bound(0, 0, "0 requests", "the survivor serves; no client is sent to the victim")


def at_once(why: str) -> Bound:
    """Return the interval of what waits for no clock; `why` is its source."""
    return Bound(0, ALLOWANCE, f"0 … {ALLOWANCE:g}", why)


def check_critical(config: Config, frozen: bool) -> Bound:
    """Return when a check notices: the agent asks every `check_interval`, from a random phase.

    A dead service refuses at once; a frozen one costs the time-out too. Source: Consul
    `agent/checks/check.go`; a change is synced at once, `agent/ae/ae.go`. Measured over 96
    faults: 0.18–5.02 s killed and 1.11–5.96 s frozen at 5 s; 0.03–1.01 and 1.01–2.00 at 1 s.
    """
    interval, timeout = config.check_interval, config.check_timeout
    source = "Consul agent/checks/check.go, agent/ae/ae.go; 96 faults measured"
    if not frozen:
        return Bound(0, interval + ALLOWANCE, f"0 … {interval:g} (interval) + {ALLOWANCE:g}", source)
    return Bound(
        max(0.0, timeout - config.check_duration),
        interval + timeout + ALLOWANCE,
        f"{timeout:g} (time-out) … {interval:g} (interval) + {timeout:g} + {ALLOWANCE:g}",
        source,
    )


def vault_check_critical(config: Config) -> Bound:
    """Return when the catalog notices a Vault that no longer renews its TTL check.

    The check turns critical `vault_check_ttl` after the last renewal, which lies up to
    `vault_check_renewal` before the fault. Source: Vault `serviceregistration/consul`.
    Measured 0.5–5.0 s over 20 faults.
    """
    ttl, renewal = config.vault_check_ttl, config.vault_check_renewal
    return Bound(
        max(0.0, ttl - renewal),
        ttl + ALLOWANCE,
        f"{ttl:g} (TTL) − 0…{renewal:g} (since the last renewal), + {ALLOWANCE:g}",
        "Vault serviceregistration/consul; measured 0.5–5.0",
    )


def serf_critical(config: Config) -> Bound:
    """Return when gossip declares a node dead whose agent is gone.

    The next member whose turn it is probes it (each of n − 1 members asks one other per
    `serf_probe`), waits to the end of its probe interval, and suspects it for
    `serf_suspicion` · max(1, log10 n); two other members that agree cut the suspicion to that
    minimum. Upper end: one whole round of probes, by all members at their latest.
    Source: memberlist `suspicion.go`, `config.go`. Measured with n = 6: 5.2–6.5 s.
    """
    probe, n = config.serf_probe, config.agents
    suspicion = config.serf_suspicion * max(1.0, math.log10(n)) * probe
    latest = n * probe + suspicion + config.serf_gossip + ALLOWANCE
    return Bound(
        probe + suspicion,
        latest,
        f"{probe:g} (probe) + {suspicion:g} (suspicion) … one round of {n} × {probe:g} + {suspicion:g}"
        f" + {config.serf_gossip:g} (gossip) + {ALLOWANCE:g}",
        "memberlist suspicion.go, config.go; measured 5.2–6.5",
    )


def serf_reunited(config: Config) -> Bound:
    """Return when a node that was declared dead, and lives, is believed in again after its cable is back.

    Nobody asks the dead. The two sides meet when the one that was cut off exchanges its whole state with a
    member, every `serf_sync`, or when somebody by chance tries to reconnect to one that failed before that.
    The exchange leaves out members that are suspected, and a suspect is free again when it was probed: at
    most a round of probes later. Source: memberlist `state.go` (pushPull, probeNode), `config.go`
    (PushPullInterval), serf `serf.go` (reconnect). Measured 5.7–28.4 s.
    """
    round_ = config.agents * config.serf_probe
    return Bound(
        0,
        config.serf_sync + round_ + config.serf_gossip + ALLOWANCE,
        f"0 … {config.serf_sync:g} (exchange of states) + {config.agents} × {config.serf_probe:g} (probes)"
        f" + {config.serf_gossip:g} (gossip) + {ALLOWANCE:g}",
        "memberlist config.go, serf serf.go; measured 5.7–28.4",
    )


def lock_wait(config: Config) -> float:
    """Return the seconds from the end of a leader's session to the standby's lock.

    The standby tries at once and then every `lock_retry`; the first try after `lock_delay` gets
    it. Source: Consul `api/lock.go`, sessions documentation. Measured 14.97–15.2 s, 17 times.
    """
    return math.ceil(config.lock_delay / config.lock_retry) * config.lock_retry


def leader_after_crash(config: Config) -> Bound:
    """Return when a new Vault leads after one that fell silent while its node lives.

    The session ends 2 · TTL after its last renewal, which was up to TTL/2 ago; then the lock
    waits. Source: Consul `agent/consul/session_ttl.go` (twice the TTL), `api/lock.go` (renewal
    at half of it). Measured 38.3–44.3 s at 15 s, 31.2–33.4 at 10 s, 18.3–19.0 at 2 s.
    """
    ttl, wait = config.session_ttl, lock_wait(config)
    return Bound(
        1.5 * ttl + wait,
        2 * ttl + wait + config.takeover + ALLOWANCE,
        f"2 × {ttl:g} (session) − 0…{ttl / 2:g} (since the last renewal) + {wait:g} (lock-delay)"
        f" + {config.takeover:g} + {ALLOWANCE:g}",
        "Consul session_ttl.go, api/lock.go; measured 38.3–44.3 at 15 s",
    )


def leader_after_node_loss(config: Config) -> Bound:
    """Return when a new Vault leads after the leader's agent is gone.

    A session hangs on its node's `serfHealth`: when that turns critical it ends at once, and only
    the lock-delay remains. Source: Consul `agent/session_endpoint.go`. Measured 20.4–21.4 s.
    """
    lost, wait = serf_critical(config), lock_wait(config)
    return Bound(
        lost.lo + wait,
        lost.hi + wait + config.takeover,
        f"{lost.lo:.3g}–{lost.hi:.3g} (gossip) + {wait:g} (lock-delay) + {config.takeover:g}",
        "Consul agent/session_endpoint.go, memberlist; measured 20.4–21.4",
    )


def orderly_handover(config: Config) -> Bound:
    """Return when a new Vault leads after one that gives its lock back (TERM, step-down, seal).

    Source: Vault `vault/ha.go`; no timer is involved. Measured 0.56–0.83 s.
    """
    return Bound(
        0,
        config.handover + ALLOWANCE,
        f"0 … {config.handover:g} (release and take-over) + {ALLOWANCE:g}",
        "Vault vault/ha.go; measured 0.56–0.83",
    )
