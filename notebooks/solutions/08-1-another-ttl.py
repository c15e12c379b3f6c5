"""Exercise 8.1: another TTL.

The leader gave up after 10 s, so the new server lets the old session run out: twice the TTL, counted anew
from the restart. Then the lock-delay. How long the server was away does not appear.
"""

election_and_replay, ttl, lock_delay = (1, 4.5), 10, 15

answer = {
    "at best": election_and_replay[0] + 2 * ttl + lock_delay,
    "at worst": election_and_replay[1] + 2 * ttl + lock_delay,
}
