"""What the protocols allow: for each fault the interval in which each measured time must lie.

Pure functions of the live configuration; the clocks behind them are in `helpers/clocks.py`.
Times count in seconds from the moment the fault is asked for (the beginning of the injection
call), or from the heal where the name says `again` or `returned`. Names of times are those of
`helpers.quantities.QUANTITIES`.

    for_fault(Config(), "kill", "vault.leader")["leader"]     # Bound(37.5, 45.8, "…", "…")

`for_fault` gives what is known when the fault is injected, `after_heal` what can be said once
it is known how long the fault lasted. Both are empty where no protocol says anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from helpers.clocks import (
    ALLOWANCE,
    NOTHING,
    Bound,
    Config,
    at_once,
    check_critical,
    leader_after_crash,
    leader_after_node_loss,
    lock_wait,
    orderly_handover,
    serf_critical,
    serf_reunited,
    vault_check_critical,
)
from helpers.errors import LabError

__all__ = ["ALLOWANCE", "SUBJECTS", "Bound", "Config", "after_heal", "for_fault", "subject"]

SUBJECTS = (
    "todo",
    "todos",
    "vault.leader",
    "vault.standby",
    "vaults",
    "mysql",
    "consul",
    "agent",
    "vault.leader:agent",
    "vault",  # one of them, and nobody said whether it leads
    "all",
)

#: A node that lives and cannot be reached, or not by its peers.
CUT_OFF = ("partition", "unplug")

#: Who is silent because it does not run, and goes on where it was.
FROZEN = ("pause", "suspend")


def subject(targets: Sequence[str], leader: str | None = None) -> str:
    """Return which of `SUBJECTS` is hit.

    `targets` are `NODE` or `NODE:PROGRAM`, `leader` the node whose Vault leads at that moment.
    A Vault counts as the standby when it is not `leader`, as just a `vault` when nobody knows who leads.
    Raises `LabError` for no target.
    """
    if not targets:
        raise LabError("A fault needs a target; there is none.")
    split = [target.partition(":")[::2] for target in targets]
    nodes = list(dict.fromkeys(node for node, _ in split))
    kinds = {node.rstrip("0123456789") for node in nodes}
    if len(kinds) > 1:
        return "all"
    (service,) = kinds
    if nodes == ["consul"]:
        return "consul"
    if all(program == "agent" for _, program in split):
        return "vault.leader:agent" if leader in nodes else "agent"
    if service == "vault":
        if len(nodes) > 1:
            return "vaults"
        if leader is None:
            return "vault"
        return "vault.leader" if leader == nodes[0] else "vault.standby"
    if service == "todo":
        return "todo" if len(nodes) == 1 else "todos"
    return service


def for_fault(config: Config, fault: str, hit: str, lasts: float | None = None) -> dict[str, Bound]:
    """Return the allowed interval of each time that can be judged, by its name.

    `fault` is a name of `helpers.faults`, `hit` one of `SUBJECTS`, `lasts` the seconds until the
    heal if they are known beforehand. Raises `LabError` for an unknown subject.
    """
    if hit not in SUBJECTS:
        raise LabError(f"There is no subject {hit!r}; the subjects are {', '.join(SUBJECTS)}.")
    if hit == "all":
        return {}
    if hit == "consul":
        known = ("stop", "kill", "power_off", *FROZEN, *CUT_OFF)
        if fault == "restart":
            return _server_restarted(config)
        return _server_away(fault, config, lasts) if fault in known else {}
    fault = "power_off" if fault in ("suspend", *CUT_OFF) else fault
    if fault == "maintenance":
        out = {"detected": at_once("the agent adds a failing check and syncs it")}
        # Somebody else is named, or the clients keep the last list (of MySQL); where nobody is, users fail.
        return out | ({"lost": NOTHING} if hit in ("todo", "vault.standby", "mysql") else {})
    if hit in ("agent", "vault.leader:agent") or fault in ("power_off", "leave"):
        return _node_lost(fault, hit, config, lasts)
    if hit == "todo":
        return _todo(fault, config)
    if hit in ("todos", "mysql"):
        return _database(fault, config) if hit == "mysql" else _check_only(fault, config)
    if hit == "vault.standby":
        return _standby(fault, config)
    return _leader(fault, hit, config, lasts)


def _todo(fault: str, config: Config) -> dict[str, Bound]:
    """One of several todos; while Consul still names it, its share of the requests fails."""
    if fault in ("stop", "restart"):
        return {"detected": at_once("todo deregisters itself on TERM, one RPC"), "lost": NOTHING}
    if fault not in ("kill", "pause"):
        return {}
    seen = check_critical(config, frozen=fault == "pause")
    window = Bound(0, seen.hi, f"0 … {seen.hi:g}, as long as Consul names it", seen.source)
    return {"detected": seen, "window": window}


def _check_only(fault: str, config: Config) -> dict[str, Bound]:
    if fault in ("stop", "restart"):
        return {"detected": at_once("todo deregisters itself on TERM, one RPC")}
    return {"detected": check_critical(config, frozen=fault == "pause")} if fault in ("kill", "pause") else {}


def _database(fault: str, config: Config) -> dict[str, Bound]:
    """MySQL: its own check opens a TCP connection, todo's deep check asks a query.

    A frozen MySQL still passes its own check: the kernel accepts connections in its place. Only
    the deep checks see it, and they take out every todo; with shallow ones Consul goes on naming them.
    """
    if fault == "restart":
        hi = config.start + config.check_interval + config.check_timeout + ALLOWANCE
        formula = (
            f"0 … {config.start:g} (start), + {config.check_interval:g} (interval) + {config.check_timeout:g}"
            f" (time-out) if all deep checks met the gap, + {ALLOWANCE:g}"
        )
        return {"outage": Bound(0, hi, formula, "measured 0.4–0.9; a check in the gap takes a todo out")}
    if fault not in ("stop", "kill", "pause"):
        return {}
    out = {}
    if config.health == "deep":
        out["todos_detected"] = check_critical(config, frozen=fault == "pause")
    if fault != "pause":
        out["detected"] = check_critical(config, frozen=False)
    return out


def _standby(fault: str, config: Config) -> dict[str, Bound]:
    """The standby serves nobody: no request is lost, only the next failure's reserve."""
    if fault in ("stop", "restart"):
        return {"detected": at_once("Vault deregisters itself on TERM"), "lost": NOTHING}
    if fault in ("kill", "pause"):
        return {"detected": vault_check_critical(config), "lost": NOTHING}
    return {}


def _leader(fault: str, hit: str, config: Config, lasts: float | None) -> dict[str, Bound]:
    """The Vault leader, alone or with the standby.

    Measured for a pause: under 1.5 · TTL no failover and requests only wait; over
    2 · TTL + lock-delay another one leads at the end of the pause, and two say so for 0.5 s.
    """
    out: dict[str, Bound] = {}
    if fault in ("stop", "restart"):
        out["detected"] = at_once("Vault deregisters itself on TERM")
    elif fault == "seal":
        handover = orderly_handover(config)
        out["detected"] = Bound(0, handover.hi, handover.formula, "Vault reports the seal when it is done")
    elif fault in ("kill", "pause"):
        out["detected"] = vault_check_critical(config)
    elif fault != "step_down":
        return {}
    if hit == "vault":
        return out
    if hit == "vaults":
        return out | _todo_without_vault(config)
    if fault in ("stop", "restart", "seal", "step_down"):
        return out | {"leader": orderly_handover(config), "outage": orderly_handover(config)}
    crash = leader_after_crash(config)
    if fault == "pause" and lasts is not None and lasts < crash.lo:
        if lasts >= 2 * config.session_ttl:  # the session has ended; measured 39.3–43.1 for 33 and 35 s
            return out | {"leader": crash, "outage": crash}
        if lasts >= 1.5 * config.session_ttl:
            return out  # a coin toss between waking up in time and a failover
        waits = Bound(
            0,
            lasts + config.handover + ALLOWANCE,
            f"{lasts:g} (the pause) + {config.handover:g} + {ALLOWANCE:g}; the session outlives it",
            "Consul session_ttl.go; measured 0.3–0.6 after the pause",
        )
        return out | {"outage": waits}
    return out | {"leader": crash, "outage": crash}


def _todo_without_vault(config: Config) -> dict[str, Bound]:
    """Without any Vault, todo's credential lasts to the end of its lease, or for ever in mode `hold`.

    MySQL users do not expire by themselves: Vault drops them, and there is none. The instance whose
    credential is oldest fails first; it asked for it at most `renew_at` of a lease ago.
    """
    if config.on_vault_loss != "fail":
        return {
            "todo_lost": Bound(0, 0, "0 requests: the user in MySQL outlives its lease", "measured for 85 s")
        }
    left = (1 - config.renew_at) * config.lease
    return {
        "todo_fails": Bound(
            left,
            config.lease + ALLOWANCE,
            f"{config.lease:g} (lease) − 0…{config.renew_at * config.lease:g} (its age) + {ALLOWANCE:g}",
            "todo/credentials.py: asked anew at 55–70 % of the lease",
        )
    }


def _node_lost(fault: str, hit: str, config: Config, lasts: float | None) -> dict[str, Bound]:
    """An agent or a whole node goes; `leave` and an orderly stop of an agent say so.

    `leave_on_terminate` is true for clients: TERM is a leave. The dead agent's last word about its
    services stays in the catalog; only `serfHealth` tells. Nothing is said of a leader that is healed before
    gossip must have told: it may have kept its session, or the session's own clock decides.
    """
    orderly = fault in ("leave", "stop", "restart")
    if orderly:
        limit = 5.0
        seen = Bound(
            0,
            limit + ALLOWANCE,
            f"0 … {limit:g} (leave_drain_time) + {ALLOWANCE:g}",
            "Consul agent/config/default.go",
        )
    elif fault in ("kill", "pause", "power_off"):
        seen = serf_critical(config)
    else:
        return {}
    out = {"detected": seen}
    if hit in ("agent", "vault.standby"):
        out["lost"] = NOTHING
    if hit == "todo":
        out["window"] = Bound(0, seen.hi, f"0 … {seen.hi:.3g}, as long as Consul names it", seen.source)
    if hit == "mysql" and fault == "power_off" and config.health == "deep":
        # The machine refuses, or is silent: todo's check waits for it no longer than its own time-out.
        latest = check_critical(config, frozen=True)
        formula = (
            f"0 … {config.check_interval:g} (interval) + {config.check_timeout:g} (time-out) + {ALLOWANCE:g}"
        )
        out["todos_detected"] = Bound(0, latest.hi, formula, latest.source)
    if hit == "vaults" and fault == "power_off":
        out |= _todo_without_vault(config)
    told = lasts is None or lasts > seen.hi
    if hit in ("vault.leader", "vault.leader:agent") and not orderly and told:
        out["leader"] = leader_after_node_loss(config)
        if fault == "power_off":
            out["outage"] = out["leader"]
    return out


def _server_away(fault: str, config: Config, lasts: float | None = None) -> dict[str, Bound]:
    """The only Consul server: discovery has no answer at once, and so have Vault's writes.

    The leader keeps reading for `monitor_retries` × `monitor_pause`. Measured: lost at
    10.0–10.8 s with `raft_multiplier` 1, 8.8 s with 5; never when the server was back after 5 s
    in 7 of 9. The reference said that a short outage costs the data plane nothing: it does, its
    writes fail from the first moment although its health stays 200. A server that is back before the
    monitor's patience ends says nothing about `leader_lost`. Neither does one that is silent instead of
    refusing: the monitor waits for an answer that does not come. Measured in nine cuts of 20 s: given up
    after 10.5–14.7 s six times, and three times not before the cable was back.
    """
    first, last = (
        (config.monitor_retries - 1) * config.monitor_pause,
        config.monitor_retries * config.monitor_pause,
    )
    lost = Bound(
        first,
        last + config.handover + ALLOWANCE,
        f"{config.monitor_retries} × {config.monitor_pause:g} (lock monitor), the first at once;"
        f" + {config.handover:g} (it steps down) + {ALLOWANCE:g}",
        "Vault physical/consul, Consul api/lock.go; measured 8.8–10.8",
    )
    found = {
        "dns_silent": at_once("an agent without a server answers SERVFAIL; one that waits for it, nothing"),
        "writes_fail": at_once("Vault's storage is Consul's key-value store"),
    }
    silent = fault in (*FROZEN, *CUT_OFF)
    return found if silent or (lasts is not None and lasts <= lost.hi) else found | {"leader_lost": lost}


def _server_restarted(config: Config) -> dict[str, Bound]:
    """The only server is stopped and started at once: requests fail or wait until it leads and has replayed.

    A request in the gap may be held by its agent (`rpc_hold_timeout`, 7 s) and succeed late, so no first
    failure is promised. If the half-replayed log has cost Vault its leader, see `_server_back`.
    """
    up, wait = 2 * config.raft_multiplier + config.replay, lock_wait(config)
    return {
        "outage": Bound(
            0,
            config.start + up + config.lock_retry + wait + ALLOWANCE,
            f"0 … {config.start:g} (start) + {up:g} (election, replay) + {config.lock_retry:g} + {wait:g}"
            f" (if the leader was lost) + {ALLOWANCE:g}",
            "Consul raft configuration, session.go, api/lock.go; measured 0–2.3 in ten runs",
        )
    }


def after_heal(config: Config, fault: str, hit: str, lasted: float) -> dict[str, Bound]:
    """Return what is allowed after the heal, in seconds from its beginning.

    `lasted` is the time from the injection to the heal. `returned`: Consul names the victim again;
    `leader_again`, `secret_again`, `todo_again`: a Vault leads, secrets, todos are written again.
    """
    if hit not in SUBJECTS:
        raise LabError(f"There is no subject {hit!r}; the subjects are {', '.join(SUBJECTS)}.")
    if hit == "consul":
        return _server_back(fault, config, lasted)
    start = 0.0 if fault in ("pause", "maintenance") else config.start
    recheck = config.check_interval + config.check_timeout + start + ALLOWANCE
    terms = f"{config.check_interval:g} (interval) + {config.check_timeout:g} (time-out) + {start:g} (start)"
    source = "Consul agent/checks/check.go; a check in flight passes at once when the service wakes"
    back = Bound(0, recheck, f"0 … {terms} + {ALLOWANCE:g}", source)
    if hit == "todo" and fault in ("kill", "pause", "stop"):
        return {"returned": back}
    if hit == "todo" and fault in ("suspend", *CUT_OFF):
        return {"returned": serf_reunited(config)}
    if hit == "mysql" and fault in ("kill", "pause", "stop") and config.health == "shallow":
        once = Bound(
            0, start + ALLOWANCE, f"0 … {start:g} (start) + {ALLOWANCE:g}", "no check took a todo out"
        )
        return {"todo_again": once}
    if hit in ("todos", "mysql") and fault in ("kill", "pause", "stop"):
        return {"todo_again": back}
    if hit == "vaults" and fault == "kill":
        crash = leader_after_crash(config)
        lo, hi = max(0.0, crash.lo - lasted), max(config.start + ALLOWANCE, crash.hi - lasted)
        formula = f"{crash} after the kill, minus {lasted:.3g}; at least {config.start:g} to start"
        return {"leader_again": Bound(lo, hi, formula, crash.source + "; 38.3–43.5 with a restart at 5 s")}
    return {}


def _server_back(fault: str, config: Config, lasted: float) -> dict[str, Bound]:
    """The only server is back: election, replay, and if the leader is lost both clocks anew.

    After more than the lock monitor's patience every session timer restarts at 2 · TTL, then comes
    the lock-delay. Measured 46.4–49.1 s with `raft_multiplier` 1, 52.5 with 5, for 13 as for 20 s away:
    the older the lab, the longer the replay.
    The replay shuts the lock anew for the lock-delay if its log holds the death of a leader's session
    (Consul `agent/consul/state/session.go`: the delay counts from now, not from the death).
    After less, the lock is usually kept; in 2 of 9 a renewal met the half-replayed log ("Session id
    not found"), and the leader was gone for 1.3 and for 17 s.
    """
    if fault in FROZEN:
        return {}
    if fault in CUT_OFF:
        return _server_reunited(config, lasted)
    slow = config.raft_multiplier
    wait, renewals = lock_wait(config), 2 * config.session_ttl
    up = 2 * slow + config.replay
    lost = _server_away(fault, config)["leader_lost"]
    source = "Consul session_ttl.go, raft configuration; measured 46.4–49.1 (×1), 52.5 (×5)"
    long = Bound(
        renewals + wait + slow,
        renewals + wait + up + ALLOWANCE,
        f"{slow}…{2 * slow} (election) + {config.replay:g} (replay) + 2 × {config.session_ttl:g} (session)"
        f" + {wait:g} (lock-delay) + {ALLOWANCE:g}",
        source,
    )
    if lasted > lost.hi:
        return {"leader_again": long, "secret_again": long}
    if lasted < lost.lo:
        hi = up + config.lock_retry + wait + ALLOWANCE
        formula = (
            f"0 … {up:g} (election, replay) + {config.lock_retry:g} + {wait:g} (if the leader was lost)"
            f" + {ALLOWANCE:g}"
        )
        return {
            "secret_again": Bound(0, hi, formula, "measured 0.1–3.4, and 3.9 and 20.1 with a lost leader")
        }
    return {"secret_again": Bound(0, long.hi, f"kept at once, or lost: {long.formula}", source)}


def _server_reunited(config: Config, lasted: float) -> dict[str, Bound]:
    """The only server can be reached again, and went on counting: its clocks began at the cut.

    The agents hold it for dead until gossip has met again; Vault then tries at once or after its pause.
    If the leader kept its lock there is nothing to wait for but that; if not, its session and the
    lock-delay run as after a crash, from the cut on. And the reunion has an echo: old news of the cut calls a
    node failed for a moment, which ends the session of a leader that had come through it all, and shuts the
    lock for the lock-delay anew. Seen in the records: the leader's node passing 0.6 s after the repair,
    critical from 2.0 to 2.2, another leader 15 s later. Measured 16.6–36.3 s after 20 s in 15 runs, and 51.6
    once. Nothing is said of `leader_again`: a leader that kept its lock has no second beginning.
    """
    met, crash = serf_reunited(config), leader_after_crash(config)
    wait = max(lock_wait(config), config.vault_retry)
    hi = max(met.hi + wait + config.handover, crash.hi - lasted)
    formula = (
        f"0 … the later of {met.hi:g} (gossip) + {wait:g} (lock-delay, if the echo costs the leader; at least"
        f" Vault's pause, {config.vault_retry:g}) + {config.handover:g}"
        f" and {crash.hi:.3g} (as after a crash) − {lasted:.3g}"
    )
    return {"secret_again": Bound(0, hi, formula, f"{met.source}; {crash.source}")}
