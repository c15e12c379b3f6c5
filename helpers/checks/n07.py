"""Checks of notebook 07, break MySQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from helpers.exercises import exercise

Audit = Callable[[pd.DataFrame, pd.DataFrame], Any]


def _tables(entries: list[tuple[int | None, str]], rows: list[tuple[int, str]]) -> list[pd.DataFrame]:
    told = pd.DataFrame(entries, columns=["id", "content"]).astype({"id": "Int64"})
    return [told, pd.DataFrame(rows, columns=["id", "content"])]


AUDITS = [
    # nothing happened
    (_tables([(1, "a"), (2, "b")], [(1, "a"), (2, "b")]), {"lost": 0, "unexpected": 0, "twice": 0}),
    # as many rows as promises, and yet one is lost
    (
        _tables([(1, "a"), (2, "b"), (None, "c")], [(1, "a"), (3, "c")]),
        {"lost": 1, "unexpected": 1, "twice": 0},
    ),
    # an unacknowledged write was repeated
    (
        _tables([(1, "a"), (None, "b")], [(1, "a"), (2, "b"), (7, "b")]),
        {"lost": 0, "unexpected": 2, "twice": 1},
    ),
    # a write that failed and is nowhere is no loss
    (_tables([(1, "a"), (None, "b")], [(1, "a")]), {"lost": 0, "unexpected": 0, "twice": 0}),
]


def _by_count(entries: pd.DataFrame, rows: pd.DataFrame) -> dict[str, int]:
    told = entries.id.notna().sum()
    return {"lost": max(0, told - len(rows)), "unexpected": max(0, len(rows) - told), "twice": 0}


def _all_entries(entries: pd.DataFrame, rows: pd.DataFrame) -> dict[str, int]:
    return {
        "lost": int((~entries.content.isin(rows.content)).sum()),
        "unexpected": int((~rows.id.isin(entries.id)).sum()),
        "twice": int(rows.content.duplicated().sum()),
    }


@exercise(
    "7.1",
    "count what was acknowledged",
    hint="Acknowledged ids are `entries.id.dropna()`. `isin` tells which of them are in `rows.id`, and the "
    "other way round. `rows.content.duplicated()` marks each repetition.",
    right="Counting totals would have missed it: one lost and one unexpected make the same sum.",
    wrong=[_by_count, _all_entries, {"lost": 0, "unexpected": 0, "twice": 0}],
)
def audit(answer: Audit) -> str | None:
    """A function from a ledger and a table to what is lost, unexpected and there twice."""
    if not callable(answer):
        return "the answer is a function of `entries` and `rows`."
    for (entries, rows), right in AUDITS:
        found = answer(entries.copy(), rows.copy())
        if not isinstance(found, Mapping) or set(found) != set(right):
            return f"it returns {found!r}; a dictionary with {', '.join(right)} is expected."
        wrong = [name for name, number in right.items() if found[name] != number]
        if wrong:
            told = ", ".join(
                f"{content}: {'nobody' if pd.isna(id_) else id_}" for id_, content in entries.values
            )
            have = ", ".join(f"{content}: {id_}" for id_, content in rows.values)
            return (
                f"{wrong[0]} is {right[wrong[0]]}, not {found[wrong[0]]}, "
                f"for the ledger ({told}) and the rows ({have})."
            )
    return None


class _Store:
    """A table whose `write` breaks at given moments: `before`, `after`, or `no` for a good one."""

    def __init__(self, moments: list[str]) -> None:
        self.moments = list(moments)
        self.rows: list[str] = ["another"]
        self.writes = 0

    def find(self, content: str) -> list[int]:
        return [number for number, row in enumerate(self.rows, 1) if row == content]

    def write(self, content: str) -> int:
        self.writes += 1
        moment = self.moments.pop(0) if self.moments else "no"
        if moment == "before":
            raise ConnectionError("lost before the write")
        self.rows.append(content)
        if moment == "after":
            raise ConnectionError("lost after the write")
        return len(self.rows)


ATTEMPTS = 3
Client = Callable[[Callable[[str], list[int]], Callable[[str], int], str], Any]


def _blind(find: Callable[[str], list[int]], write: Callable[[str], int], content: str) -> int:  # noqa: ARG001
    for _ in range(2):
        try:
            return write(content)
        except ConnectionError:
            continue
    return write(content)


def _once(find: Callable[[str], list[int]], write: Callable[[str], int], content: str) -> int:  # noqa: ARG001
    return write(content)


def _for_ever(find: Callable[[str], list[int]], write: Callable[[str], int], content: str) -> int:
    while not (stored := find(content)):
        try:
            return write(content)
        except ConnectionError:
            continue
    return stored[0]


def _looks_too_late(find: Callable[[str], list[int]], write: Callable[[str], int], content: str) -> int:
    try:
        return write(content)
    except ConnectionError:
        try:
            return write(content)
        except ConnectionError:
            return find(content)[0]


@exercise(
    "7.2",
    "a write that may be repeated",
    hint="Look before every attempt, the first one too: if `find` has an id, the work is done already.",
    right="With a key of its own a write may be repeated as often as it takes. Two clients with the same "
    "content at the same time still need the database: a UNIQUE key.",
    wrong=[_blind, _once, _looks_too_late, _for_ever, 3],
)
def repeatable(answer: Client) -> str | None:
    """A function that stores a content exactly once, whatever breaks."""
    if not callable(answer):
        return "the answer is a function of `find`, `write` and `content`."
    for moments in ([], ["before"], ["after"], ["before", "after"], ["before", "before"]):
        store = _Store(moments)
        words = " then ".join(moments) or "never"
        try:
            found = answer(store.find, store.write, "milk")
        except ConnectionError:
            return f"when `write` breaks {words} writing, your client gives up after {store.writes} attempts."
        stored = store.find("milk")
        if len(stored) != 1:
            return f"when `write` breaks {words} writing, the content is stored {len(stored)} times."
        if found != stored[0]:
            return f"when `write` breaks {words} writing, it returns {found!r}; the id is {stored[0]}."
    store = _Store(["before"] * 10)
    try:
        found = answer(store.find, store.write, "milk")
    except ConnectionError:
        found = None
    if store.writes > ATTEMPTS:
        return f"when every `write` breaks, it writes {store.writes} times; {ATTEMPTS} are allowed."
    if found is not None:
        return f"when every `write` breaks, it returns {found!r} instead of raising ConnectionError."
    return None


CHANCES = {"this one": 2 / 5, "both": (2 / 5) ** 2, "nobody": (1 - 2 / 5) ** 2}


@exercise(
    "7.3",
    "shorter than the interval",
    hint="A check with a random phase falls into a gap of 2 s out of 5 s with probability 2/5. The two "
    "phases are independent, so their probabilities multiply.",
    right="In 36 of 100 such outages Consul shows nothing. In 16 of 100 all instances are out, for longer "
    "than the outage.",
    wrong=[
        {"this one": 0.4, "both": 0.8, "nobody": 0.2},
        {"this one": 0.4, "both": 0.4, "nobody": 0.6},
        {"this one": 0.16, "both": 0.4, "nobody": 0.36},
        0.4,
    ],
)
def gap(answer: object) -> str | None:
    """The probabilities that one, both or no instance is taken out."""
    if not isinstance(answer, Mapping) or set(answer) != set(CHANCES):
        return "the answer is the dictionary above, with three probabilities in it."
    for name, right in CHANCES.items():
        if abs(answer[name] - right) > 0.005:
            return f"{name}: {answer[name]:g} is not it. For a gap as long as the interval it must be " + (
                "0." if name == "nobody" else "1."
            )
    return None
