"""Exercise 6.1: shorten it.

The session's TTL is the one clock that is a setting of Vault. Consul accepts 10 s and more, so 30 s is
the floor: 2 × 10 − 5 + 15. The lock-delay of 15 s is now half of it, and Vault has no setting for that. Before and after: `answer.compare(killed)`, or, without a
lab, `reference.load("06-kill-10s").compare(reference.load("06-kill"))`.
"""

from helpers import Lab

lab = Lab.at("deployed")
with lab.changed("vault", session_ttl=10), lab.record("the Vault leader is killed, TTL 10 s") as run:
    run.steady(4)
    run.inject("kill", "vault.leader")
    run.observe(until="vault.leader", at_most=50)
    run.heal()

answer = run
