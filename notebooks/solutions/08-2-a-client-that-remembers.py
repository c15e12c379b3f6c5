"""Exercise 8.2: a client that remembers.

An empty list is an answer and stands. Only *no answer* is replaced by what the agent remembers.
"""


def answer(service, ask):
    try:
        return ask(f"{service}?passing")
    except ConnectionError:
        return ask(f"{service}?passing&cached")
