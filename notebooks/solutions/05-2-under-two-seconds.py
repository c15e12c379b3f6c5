"""Exercise 5.2: under two seconds.

1 s + 0.5 s: the sum stays under 2 s, with half a second for a busy machine. A todo that needs more
than 0.5 s for its health check would be taken for dead, and it needs a few milliseconds.
"""

from helpers import Lab

lab = Lab.at("deployed")
with lab.changed("check", interval=1, timeout=0.5), lab.record("a freeze under two seconds") as run:
    run.steady(4)
    run.inject("pause", "todo0")
    run.observe(until="detected", at_most=5)
    run.heal()

answer = run
