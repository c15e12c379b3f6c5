"""Exercise 7.3: shorter than the interval.

A random phase in 5 s falls into a gap of 2 s with probability 2/5.
"""

hit = 2 / 5

answer = {"this one": hit, "both": hit**2, "nobody": (1 - hit) ** 2}
