"""Exercise 0.2: between two looks.

The first critical look bounds the moment from above, the look before it from below.
"""


def answer(states):
    first = states.index[states == "critical"][0]
    return states.index[states.index < first][-1], first
