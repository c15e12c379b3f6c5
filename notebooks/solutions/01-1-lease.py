"""Exercise 1.1: a lease for fifty instances.

An instance asks at 55 % of the lease at the earliest: every 0.55 × lease seconds. Fifty of them
make 50 / (0.55 × lease) credentials per second, and that is 1 at 90.9 s.
"""

import math

answer = math.ceil(50 / 0.55)
