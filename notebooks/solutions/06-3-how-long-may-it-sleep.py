"""Exercise 6.3: how long may it sleep?

The session ends 2 × TTL after the last renewal. That renewal was up to TTL / 2 before the freeze (then
1.5 × TTL are left), or just before it (then 2 × TTL are left).
"""

ttl = 10

answer = {"surely keeps it": 2 * ttl - ttl / 2, "surely loses it": 2 * ttl}
