"""Exercise 0.1: the window in numbers.

The kill is anywhere between two questions: 0 to 5 s before the next, 2.5 s on average. In that
time the user sends 25 requests, and half of them go to the dead process.
"""

answer = {"seconds": 5 / 2, "requests": 5 / 2 * 10 / 2}
