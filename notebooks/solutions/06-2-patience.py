"""Exercise 6.2: the patience of another lab.

The session ends 2 × TTL after the last renewal, which was up to TTL / 2 ago. A lost node ends its sessions
at once, so only gossip's 5 s and the lock-delay count.
"""

ttl, lock_delay, gossip = 30, 15, 5

answer = {
    "killed, at best": 2 * ttl - ttl / 2 + lock_delay,
    "killed, at worst": 2 * ttl + lock_delay,
    "node off, at best": gossip + lock_delay,
}
