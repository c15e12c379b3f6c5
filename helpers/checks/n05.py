"""Checks of notebook 05, break todo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from helpers import reference
from helpers.cases import cases
from helpers.checks.answers import NO_RUN, numbers, proof
from helpers.exercises import exercise
from helpers.measures import detected
from helpers.showing import Showing

PER_INSTANCE = 300 / 10  # requests per second
FAILED = {
    "killed, on average": PER_INSTANCE * 10 / 2,
    "killed, at worst": PER_INSTANCE * 10,
    "frozen, at worst": PER_INSTANCE * (10 + 2),
}


@exercise(
    "5.1",
    "what a kill costs",
    hint="How many requests per second go to one of ten instances? How long does Consul go on naming it: "
    "on average, at worst, and when the check itself has to wait for its time-out?",
    right="30 per second go to the victim, for 5 s on average and 10 at worst, or 12 when it hangs.",
    wrong=[
        {"killed, on average": 1500, "killed, at worst": 3000, "frozen, at worst": 3600},
        {"killed, on average": 150, "killed, at worst": 300, "frozen, at worst": 300},
        {"killed, on average": 180, "killed, at worst": 360, "frozen, at worst": 360},
        {"killed, on average": "150", "killed, at worst": "300", "frozen, at worst": "360"},
        [150, 300, 360],
    ],
)
def cost_of_a_kill(answer: object) -> str | None:
    """The failed requests of three cases."""
    return numbers(answer, FAILED, 1, f"One instance gets {PER_INSTANCE:g} requests per second.")


LIMIT = 2.0  # seconds, for interval + time-out and for what was measured
SHORTEST = 0.5  # seconds between two questions


@exercise(
    "5.2",
    "under two seconds",
    hint="lab.changed takes both settings at once: lab.changed('check', interval=1, timeout=0.5). "
    "Pause todo0 inside, and observe until it is detected.",
    right="The sum is what counts. A shorter time-out costs nothing until the service is slow: then it is "
    "taken for dead.",
    wrong=[1.9, {"interval": 1, "timeout": 0.5}, reference.load("05-freeze"), reference.load("05-freeze-1s")],
    lab=True,
)
def under_two_seconds(answer: object) -> str | None:
    """A run in which a frozen todo was taken out in less than two seconds, under settings that ensure it."""
    if not isinstance(answer, Showing) or answer.records is None:
        return NO_RUN
    hit = cases(answer.records)
    if not hit or hit[0].fault != "pause" or hit[0].service != "todo":
        return "no todo was paused in this run; it is about a frozen instance."
    settings = answer.records.info["config"]
    interval, timeout = settings["check_interval"], settings["check_timeout"]
    if interval + timeout >= LIMIT:
        worst = f"{interval:g} s + {timeout:g} s = {interval + timeout:g} s"
        return f"{worst} at worst; that is not under {LIMIT:g} s."
    if interval < SHORTEST:
        return f"an interval of {interval:g} s asks more often than needed; {SHORTEST:g} s is the shortest."
    return proof(answer, detected, LIMIT, "observe for longer")


Client = Callable[[Sequence[str], Callable[[str], str]], Any]


def _impatient(instances: Sequence[str], ask: Callable[[str], str]) -> str:
    return ask(instances[0])


def _stubborn(instances: Sequence[str], ask: Callable[[str], str]) -> str:
    try:
        return ask(instances[0])
    except ConnectionError:
        return ask(instances[0])


def _endless(instances: Sequence[str], ask: Callable[[str], str]) -> str:
    for instance in instances:
        try:
            return ask(instance)
        except ConnectionError:
            continue
    raise ConnectionError


def _quiet(instances: Sequence[str], ask: Callable[[str], str]) -> str | None:
    for instance in instances[:2]:
        try:
            return ask(instance)
        except ConnectionError:
            continue
    return None


@exercise(
    "5.3",
    "the careful client",
    hint="Try the first in a `try`; in the `except ConnectionError` ask the second, outside of any other "
    "`try`. What if there is only one instance?",
    right="Two attempts, two instances. Retrying on the same one asks the dead; retrying for ever adds to "
    "the load of a service that is in trouble already.",
    wrong=[_impatient, _stubborn, _endless, _quiet, 2],
)
def careful_client(answer: Client) -> str | None:
    """A function that asks a second, different instance once when the first one refuses."""
    if not callable(answer):
        return "the answer is a function of `instances` and `ask`."
    names = ["todo0", "todo1", "todo2"]
    for living in ({"todo0", "todo1", "todo2"}, {"todo1", "todo2"}, {"todo2"}, set()):
        for count in (3, 1):
            wrong = _tried(answer, names[:count], living)
            if wrong is not None:
                return wrong
    return None


def _tried(client: Client, instances: list[str], living: set[str]) -> str | None:
    """Run a client against made-up instances and say what it did wrong, if anything."""
    asked: list[str] = []

    def ask(instance: str) -> str:
        asked.append(instance)
        if instance not in living:
            raise ConnectionRefusedError(instance)
        return f"answer of {instance}"

    allowed = instances[:2]
    expected = next((f"answer of {name}" for name in allowed if name in living), None)
    where = f"with {' and '.join(instances)}, of which {' and '.join(sorted(living)) or 'none'} lives"
    try:
        found = client(instances, ask)
    except ConnectionError:
        if expected is not None:
            return f"{where}, your client gave up after {' and '.join(asked)}."
        return (
            None
            if asked == allowed
            else f"{where}, it asked {', '.join(asked)} instead of {', '.join(allowed)}."
        )
    if expected is None:
        return f"{where}, it asked {', '.join(asked)} and did not raise ConnectionError in the end."
    if found != expected:
        return f"{where}, it returned {found!r} instead of {expected!r}."
    wanted = allowed[: 1 if allowed[0] in living else 2]
    return (
        None if asked == wanted else f"{where}, it asked {', '.join(asked)} instead of {', '.join(wanted)}."
    )
