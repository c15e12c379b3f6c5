"""Checks of notebook 06, break Vault."""

from __future__ import annotations

from helpers import reference
from helpers.cases import cases
from helpers.checks.answers import NO_RUN, numbers, proof
from helpers.exercises import exercise
from helpers.measures import new_leader
from helpers.showing import Showing

LIMIT = 36.0  # seconds from the kill to the new leader
FLOOR = 10.0  # seconds: Consul refuses a session with a shorter TTL


@exercise(
    "6.1",
    "shorten it",
    hint="Vault's Consul storage has one setting for the session: lab.changed('vault', session_ttl=…). "
    "Consul refuses values under 10 s. Kill vault.leader inside, and observe until vault.leader.",
    right="2 × 10 − 5 + 15 = 30 s is the floor, 35 s the worst, and 0.8 s to take over. The price: a leader "
    "that freezes for 20 s instead of 30 surely loses its lock.",
    wrong=[
        32.0,
        {"session_ttl": 10},
        reference.load("06-kill"),
        reference.load("06-node-off"),
        reference.load("06-kill-10s"),
    ],
    lab=True,
)
def shorten_it(answer: object) -> str | None:
    """A run in which the leader was killed and another one led within 36 s, by another session TTL."""
    if not isinstance(answer, Showing) or answer.records is None:
        return NO_RUN
    hit = cases(answer.records)
    if not hit or hit[0].fault != "kill" or hit[0].subject != "vault.leader":
        return "in this run no leader was killed as the first fault; inject 'kill' into 'vault.leader'."
    ttl = answer.records.info["config"]["session_ttl"]
    worst = 2 * ttl + _lock_delay(answer)
    if worst > LIMIT:
        return f"with a TTL of {ttl:g} s the worst case is {worst:g} s; that is over {LIMIT:g} s."
    if ttl < FLOOR:
        return f"a TTL of {ttl:g} s is refused by Consul, which takes {FLOOR:g} s at least."
    return proof(answer, new_leader, LIMIT, "observe until 'vault.leader'")


def _lock_delay(answer: Showing) -> float:
    """Return the seconds of the lock-delay in a run."""
    assert answer.records is not None
    return float(answer.records.info["config"]["lock_delay"])


SLOW = {"killed, at best": 1.5 * 30 + 15, "killed, at worst": 2 * 30 + 15, "node off, at best": 5 + 15}


@exercise(
    "6.2",
    "the patience of another lab",
    hint="The session ends 2 × TTL after its last renewal, and it is renewed every TTL / 2. Then the "
    "lock-delay, which is not a setting. Which of these clocks does a lost node wait for?",
    right="60 to 75 s after a crash, and 20 s after the loss of a node: gossip does not know of the TTL.",
    wrong=[
        {"killed, at best": 45, "killed, at worst": 60, "node off, at best": 20},
        {"killed, at best": 60, "killed, at worst": 75, "node off, at best": 35},
        {"killed, at best": 30, "killed, at worst": 45, "node off, at best": 20},
        [60, 75, 20],
    ],
)
def patience(answer: object) -> str | None:
    """Three times of a lab with a TTL of 30 s."""
    return numbers(answer, SLOW, 0.5, "Which clocks run, and for how long?", " s")


SLEEP = {"surely keeps it": 1.5 * 10, "surely loses it": 2 * 10}


@exercise(
    "6.3",
    "how long may it sleep?",
    hint="Consul gives the session up 2 × TTL after the last renewal. How old can that renewal be when the "
    "freeze begins?",
    right="15 s and 20 s. With the TTL of 15 s they were 22.5 s and 30 s: a shorter failover is a shorter "
    "sleep.",
    wrong=[
        {"surely keeps it": 10, "surely loses it": 20},
        {"surely keeps it": 22.5, "surely loses it": 30},
        {"surely keeps it": 30, "surely loses it": 35},
        (15, 20),
    ],
)
def sleep(answer: object) -> str | None:
    """The longest harmless freeze and the shortest fatal one, with a TTL of 10 s."""
    return numbers(answer, SLEEP, 0.1, "Count from the last renewal before the freeze.", " s")
