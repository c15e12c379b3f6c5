"""Exercise 1.2: the share of refused requests.

The mean of True and False is the share of True.
"""


def answer(logs):
    made = logs[(logs.event == "request") & (logs.path != "/health")]
    return (made.status >= 400).groupby(made.instance).mean()
