"""Exercise 3.3: seven directors. n = 7, t = 4: n - t away, t for the thief, n - t + 1 destroyed."""

answer = {"may be away": 7 - 4, "a thief needs": 4, "lost for ever when destroyed": 7 - 4 + 1}
