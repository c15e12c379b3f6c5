"""The ladder: down → nodes → initialized → unsealed → configured → deployed.

A state is found by asking the servers, never by remembering. Each rung can be climbed from any
condition of the rung itself: half up, paused, sealed, interrupted.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import consul
import hvac
import requests

from helpers import changes, deploy, faults, nodes, recording, standby, vault_steps
from helpers.errors import LabError, RoleVacantError
from helpers.topology import Node, Target
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

STATES = ["down", "nodes", "initialized", "unsealed", "configured", "deployed"]
# What a request to the leader meets when it is lost: nobody has the role, a 500 or 503, silence.
LEADER_LOST = (
    RoleVacantError,
    hvac.exceptions.InternalServerError,
    hvac.exceptions.VaultDown,
    requests.RequestException,
)


def check(state: str) -> None:
    """Raise `LabError` for a word that is not a state."""
    if state not in STATES:
        raise LabError(f"There is no state {state!r}; the states are {', '.join(STATES)}.")


def current(lab: Lab) -> str:
    """Return the highest state of which everything is so."""
    if not lab.driver.alive:
        return "down"
    reached = "down"
    for state, holds in _TESTS:
        try:
            if not holds(lab):
                break
        except (
            LabError,
            OSError,
            requests.RequestException,
            hvac.exceptions.VaultError,
            consul.ConsulException,
        ):
            break
        reached = state
    return reached


def suffices(lab: Lab, state: str) -> bool:
    """Say whether a leading Vault that is configured far enough is there, whatever else is broken."""
    if state not in ("unsealed", "configured"):
        return False
    try:
        leader = lab.active_vault()
        return state == "unsealed" or vault_steps.is_configured(leader, lab)
    except LabError:
        return False


def reach(lab: Lab, state: str) -> None:
    """Take the lab to a state, up or down the ladder.

    Descending forgets the cluster's data where a state means that it is not there yet. Raises `LabError`.
    """
    check(state)
    if state == "down":
        with lab.step("all processes ended"):
            lab.driver.down(lab.say)  # without a living supervisor, too: strays may run, a network may stand
        return
    if lab.driver.alive:
        mend(lab)  # a notebook that was killed may have left a node cut off
    now = current(lab)
    recording.end_orphaned(lab)
    if now == state and lab.home.settings.get("state") == state:
        changes.restore_orphaned(lab)
        lab.say(f"  the lab is {state}")
        return
    if STATES.index(now) > STATES.index(state):
        _descend(lab, now, state)
    climb(lab, state)
    if STATES.index(state) >= STATES.index("configured"):
        changes.restore_orphaned(lab)
    if state != STATES[-1] and STATES.index(now := current(lab)) > STATES.index(state):
        # It looked lower than it was, because a rung below was broken.
        _descend(lab, now, state)
        climb(lab, state)


def mend(lab: Lab) -> None:
    """Mend every node's network; nothing happens to one that is whole."""
    with ThreadPoolExecutor(len(lab.topology.nodes)) as pool:
        list(pool.map(lab.driver.mend, lab.topology.nodes))


def climb(lab: Lab, state: str) -> None:
    """Climb to a state, repairing each rung on the way; once more when Vault's leader is lost meanwhile.

    A Consul server that was started again may cost the leader its lock seconds after it was found well.
    """
    before = lab.home.settings.get("state")
    lab.home.remember(state=state)
    try:
        _climb(lab, state)
    except LEADER_LOST:
        _climb(lab, state)
    except LabError:
        if before is None and not lab.driver.alive:
            lab.home.remember(state=None)  # a driver that refused to start has made no lab
        raise


def _climb(lab: Lab, state: str) -> None:
    for rung, climb_one in _RUNGS:
        climb_one(lab)
        if rung == state:
            return


def at_least(lab: Lab, state: str) -> None:
    """Note that a state is wanted which was reached by a verb of its own; a higher one stays noted."""
    noted = lab.home.settings.get("state") or STATES[0]
    if STATES.index(noted) < STATES.index(state):
        lab.home.remember(state=state)


def heal(lab: Lab) -> None:
    """Bring the lab back to the state that was wanted last; raises `LabError` when there is none."""
    wanted = lab.home.settings.get("state")
    if wanted is None:
        raise LabError("There is no lab to heal here; `lab up` makes one.")
    if lab.driver.alive:
        mend(lab)
        for spare in (node for node in lab.topology.nodes.values() if node.spare):
            for program in spare.programs:  # no state of the lab asks for a spare, so none wakes it
                if lab.driver.state(target := Target(spare.name, program)) == "paused":
                    lab.driver.signal(target, "CONT")
        faults.clear_maintenance(lab)
    reach(lab, wanted)
    if STATES.index(wanted) >= STATES.index("unsealed"):
        standby.make_ready(lab)


def _descend(lab: Lab, now: str, state: str) -> None:
    todos = [Target(node.name, "todo") for node in lab.topology.of("todo", spares=True)]
    if STATES.index(now) >= STATES.index("deployed"):
        with lab.step("todo stopped"):
            lab.driver.stop(todos)
    if state == "configured":
        return
    with lab.step("the old cluster ended, its data forgotten"):
        lab.driver.clear(lab.say)
        lab.home.forget_data()


def _nodes_up(lab: Lab) -> bool:
    regular = lab.topology.regular()
    wanted = [
        Target(node.name, program) for node in regular for program in node.programs if program != "todo"
    ]
    with ThreadPoolExecutor(len(wanted)) as pool:  # a machine takes its time to answer
        if set(pool.map(lab.driver.state, wanted)) != {"running"}:
            return False
    server = lab.consul(lab.topology.server.name)
    alive = {member["Name"] for member in server.agent.members() if member["Status"] == 1}
    return bool(server.status.leader()) and {node.name for node in regular} <= alive


def _initialized(lab: Lab) -> bool:
    return all(lab.vault(node.name, "").sys.is_initialized() for node in lab.topology.of("vault"))


def _unsealed(lab: Lab) -> bool:
    roles = [vault_steps.role(lab.vault(node.name, "")) for node in lab.topology.of("vault")]
    if None in roles or "active" not in roles:
        return False
    leader = lab.topology.of("vault")[roles.index("active")]
    return vault_steps.writes(lab, lab.vault(leader.name, ""))


def _configured(lab: Lab) -> bool:
    client = lab.active_vault()
    if not vault_steps.is_configured(client, lab):
        return False
    # A notebook that was left in the middle may have changed the lease.
    return vault_steps.lease(client, lab) == lab.topology.raw["database"]["lease"]


def _deployed(lab: Lab) -> bool:
    todos = lab.topology.of("todo")
    names = {node.name for node in todos}
    # Asked at every agent, as clients do: one that was started again may not know its server yet.
    seen = all(names <= deploy.passing_instances(lab, node.name) for node in lab.topology.regular())
    # Maintenance takes a database or a Vault out of Consul while every process and answer is as it should be.
    serve = all(deploy.serves(lab, node) for node in todos) and not faults.in_maintenance(lab)
    return seen and serve and _database_named(lab)


def _database_named(lab: Lab) -> bool:
    """Say whether Consul names the database again: its own check may come round later than todo's."""
    return {node.name for node in lab.topology.of("mysql")} <= deploy.passing_instances(lab, service="mysql")


_TESTS = [
    ("nodes", _nodes_up),
    ("initialized", _initialized),
    ("unsealed", _unsealed),
    ("configured", _configured),
    ("deployed", _deployed),
]


def _climb_initialized(lab: Lab) -> None:
    with lab.step("Vault initialized"):
        vault_steps.initialize(lab)


def _climb_unsealed(lab: Lab) -> None:
    with lab.step("both Vaults unsealed, one leads"):
        vault_steps.unseal(lab)
        for node in lab.topology.of("vault"):
            vault_steps.wait_for_role(lab, node.name)
        vault_steps.wait_for_leader(lab)


def _climb_configured(lab: Lab) -> None:
    if _configured(lab):
        vault_steps.keep_operator(lab)
    else:
        vault_steps.configure(lab)


def _climb_deployed(lab: Lab) -> None:
    faults.clear_maintenance(lab)
    if lacking := [node.name for node in lab.topology.of("todo") if not _recovers(lab, node)]:
        with lab.step("schema migrated"):
            deploy.migrate(lab)
        with lab.step(f"{' and '.join(lacking)} passing in Consul"):
            deploy.deliver(lab, lacking)
    # A node that came back may be called failed once more by an old rumour, and the database's own check may
    # come round later than todo's.
    until(lambda: _deployed(lab), "Every agent's word that all services are well")


def _recovers(lab: Lab, node: Node) -> bool:
    """Say whether an instance is healthy, or becomes so by itself within a check's interval and a bit."""
    if lab.driver.state(Target(node.name, "todo")) != "running":
        return False
    check_ = lab.topology.raw["check"]
    try:
        deploy.wait_for(lab, node, at_most=check_["interval"] + 2 * check_["timeout"])
    except LabError:
        return False
    return True


_RUNGS = [
    ("nodes", nodes.start),
    ("initialized", _climb_initialized),
    ("unsealed", _climb_unsealed),
    ("configured", _climb_configured),
    ("deployed", _climb_deployed),
]
