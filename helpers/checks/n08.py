"""Checks of notebook 08, break Consul."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from helpers.checks.answers import numbers
from helpers.exercises import exercise

AFTER = {"at best": 1 + 2 * 10 + 15, "at worst": 4.5 + 2 * 10 + 15}


@exercise(
    "8.1",
    "another TTL",
    hint="13 s are more than the monitor's patience, so the leader has given up. Which three waits follow "
    "the restart, and which of them depends on the TTL?",
    right="36 to 39.5 s. That the server was away for 13 s and not for 20 plays no part.",
    wrong=[
        {"at best": 46, "at worst": 49.5},
        {"at best": 23, "at worst": 26.5},
        {"at best": 31, "at worst": 39.5},
        (36, 39.5),
    ],
)
def another_ttl(answer: object) -> str | None:
    """Seconds from the restart to a leader, with a TTL of 10 s."""
    return numbers(answer, AFTER, 0.3, "Add election and replay, the session, the lock-delay.", " s")


Ask = Callable[[str], list[str]]
SERVICE = "todo"


def _forgetful(service: str, ask: Ask) -> list[str]:
    return ask(f"{service}?passing")


def _old(service: str, ask: Ask) -> list[str]:
    return ask(f"{service}?passing&cached")


def _unfiltered(service: str, ask: Ask) -> list[str]:
    try:
        return ask(service)
    except ConnectionError:
        return ask(f"{service}?cached")


def _another(service: str, ask: Ask) -> list[str]:  # noqa: ARG001
    try:
        return ask("vault?passing")
    except ConnectionError:
        return ask("vault?passing&cached")


def _stale(service: str, ask: Ask) -> list[str]:
    try:
        return ask(f"{service}?passing")
    except ConnectionError:
        return ask(f"{service}?passing&stale")


def _distrustful(service: str, ask: Ask) -> list[str]:
    try:
        found = ask(f"{service}?passing")
    except ConnectionError:
        found = []
    return found or ask(f"{service}?passing&cached")


def _silent(service: str, ask: Ask) -> list[str]:
    for question in (f"{service}?passing", f"{service}?passing&cached"):
        try:
            return ask(question)
        except ConnectionError:
            continue
    return []


@exercise(
    "8.2",
    "a client that remembers",
    hint="A `try` around the fresh question; in its `except ConnectionError` the same question with "
    "`&cached`. An empty list is an answer: it says that nobody is well.",
    right="Fresh when there is a server, remembered when there is none. *Nobody is well* and *I cannot tell* "
    "are two answers, and only the second one may be replaced by a memory.",
    wrong=[
        *(_forgetful, _old, _stale, _distrustful, _silent, _unfiltered, _another),
        ["todo0", "todo1"],
    ],
)
def remembers(answer: Callable[[str, Ask], Any]) -> str | None:
    """A function that asks fresh first, and the agent's cache when the server is away."""
    if not callable(answer):
        return "the answer is a function of `service` and `ask`."
    fresh, kept = ["todo1"], ["todo0", "todo1"]
    situations: list[tuple[str, list[str] | None, list[str] | None, list[str] | None]] = [
        ("with a server", fresh, kept, fresh),
        ("with a server that knows of no healthy instance", [], kept, []),
        ("without a server", None, kept, kept),
        ("without a server and without a memory", None, None, None),
    ]
    for words, says_fresh, says_cached, right in situations:
        found = _tried(answer, says_fresh, says_cached)
        if found != right:
            return f"{words}, it {_told(found)} instead of: it {_told(right)}."
    return None


def _told(found: object) -> str:
    return "raised ConnectionError" if found is None else f"returned {found!r}"


def _tried(client: Callable[[str, Ask], Any], fresh: list[str] | None, cached: list[str] | None) -> Any:
    """Run a client against a made-up agent; None when it raised ConnectionError."""

    def ask(question: str) -> list[str]:
        name, _, query = question.partition("?")
        asked = {word.partition("=")[0] for word in query.split("&")}
        said = cached if "cached" in asked else fresh  # `stale` changes nothing: there is one server
        if said is None:
            raise ConnectionError("500")
        # Who does not ask for `passing` is told of the ill one, too.
        return [] if name != SERVICE else said if "passing" in asked else [*said, "todo9"]

    try:
        return client(SERVICE, ask)
    except ConnectionError:
        return None
