"""Exercise 4.2: how long a lease? Ten minutes are the middle of 55 to 70 % of it."""

answer = 600 / ((0.55 + 0.70) / 2)
