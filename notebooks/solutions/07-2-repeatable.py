"""Exercise 7.2: a write that may be repeated.

Look first, then write: an attempt whose answer was lost is found by the next one.
"""

from contextlib import suppress


def answer(find, write, content):
    for _ in range(2):
        if stored := find(content):
            return stored[0]
        with suppress(ConnectionError):
            return write(content)
    stored = find(content)
    return stored[0] if stored else write(content)
