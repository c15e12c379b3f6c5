"""Checks of notebook 01, the twelve factors."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from helpers.exercises import exercise

INSTANCES = 50
EARLIEST = 0.55  # of the lease: where todo asks for the next credential at the earliest


@exercise(
    "1.1",
    "a lease for fifty instances",
    hint="One instance asks every 0.55 × lease seconds at the earliest; fifty ask fifty times as often.",
    right="50 / 0.55 = 90.9, so 91 s. A longer lease spares Vault; a shorter one limits what a thief has.",
    wrong=[50, 90, 92, 60, 28, 72],
)
def lease_for_fifty(answer: object) -> str | None:
    """The shortest whole number of seconds at which fifty instances make one credential a second."""
    if not isinstance(answer, int | float) or isinstance(answer, bool):
        return f"the answer is a number of seconds, and this is {answer!r}."
    rate = INSTANCES / (EARLIEST * answer) if answer > 0 else float("inf")
    if rate > 1:
        return f"with {answer:g} s Vault makes up to {rate:.2f} credentials per second."
    if answer != int(answer) or INSTANCES / (EARLIEST * (answer - 1)) <= 1:
        return f"{answer:g} s is enough, and there is a shorter whole number that is enough too."
    return None


LOG = pd.DataFrame(
    [
        ("request", "todo0", "/todo", 201),
        ("request", "todo0", "/todo/7", 404),
        ("request", "todo0", "/todo", 200),
        ("request", "todo0", "/todo", 400),
        ("request", "todo0", "/health", 503),
        ("request", "todo1", "/todo", 200),
        ("request", "todo1", "/health", 200),
        ("credential_in_use", "todo0", None, None),  # no request: it must not thin out todo0's share
        ("credential_in_use", "todo1", None, None),
        ("request", "todo2", "/todo", 503),
    ],
    columns=["event", "instance", "path", "status"],
)
SHARES = {"todo0": 0.5, "todo1": 0.0, "todo2": 1.0}


def _all_requests(logs: pd.DataFrame) -> pd.Series:
    requests = logs[logs.event == "request"]
    return (requests.status >= 400).groupby(requests.instance).mean()


def _only_server_errors(logs: pd.DataFrame) -> pd.Series:
    requests = logs[(logs.event == "request") & (logs.path != "/health")]
    return (requests.status >= 500).groupby(requests.instance).mean()


def _all_events(logs: pd.DataFrame) -> pd.Series:
    others = logs[logs.path != "/health"]
    return (others.status >= 400).groupby(others.instance).mean()


def _counts(logs: pd.DataFrame) -> pd.Series:
    requests = logs[(logs.event == "request") & (logs.path != "/health")]
    return (requests.status >= 400).groupby(requests.instance).sum()


@exercise(
    "1.2",
    "the share of refused requests",
    hint="Keep the rows with event 'request' and a path other than '/health'. The mean of a column of "
    "True and False is the share of True; groupby gives it per instance.",
    right="One expression, because the log is a table. Prose lines would need a parser first.",
    wrong=[_all_requests, _only_server_errors, _all_events, _counts, 0.25],
)
def share_of_refused(answer: Callable[[pd.DataFrame], object]) -> str | None:
    """The share of requests with a status of 400 or above, per instance, without /health."""
    if not callable(answer):
        return "the answer is a function that takes a DataFrame."
    found = answer(LOG.copy())
    if not isinstance(found, pd.Series | Mapping):
        return f"your function returned a {type(found).__name__}; a Series by instance is expected."
    shares = {str(name): float(share) for name, share in found.items()}
    if set(shares) != set(SHARES):
        return f"your function knows the instances {sorted(shares)}; the log has {sorted(SHARES)}."
    for name, expected in SHARES.items():
        if abs(shares[name] - expected) > 1e-9:
            rows = LOG[(LOG.instance == name) & (LOG.event == "request")]
            seen = ", ".join(
                f"{path} {status:g}" for path, status in zip(rows.path, rows.status, strict=True)
            )
            return f"for {name} you say {shares[name]:g}, but its requests are {seen}."
    return None


FACTORS = {
    "todo2 was passing in Consul before anybody told the clients": 8,
    "TODO_CONTENT_LIMIT=sixteen kept a release from running, and the last one was started again": 5,
    "no variable of todo holds the address of the database": 4,
    "the lease went from 60 s to 10 s and back": 3,
    "todo0 was replaced, and the todo written before was still there": 6,
    "todo2 deregistered, served for a second more, and ended with exit code 0": 9,
}


@exercise(
    "1.3",
    "name the factor",
    hint="The sections carry the numbers. Ask of each: what would be hard to do if the rule were broken?",
    right="Six of the twelve, each seen at work and not only read.",
    wrong=[
        dict.fromkeys(FACTORS, 3),
        {**FACTORS, "no variable of todo holds the address of the database": 3},
        {"the lease went from 60 s to 10 s and back": 3},
        [8, 5, 4, 3, 6, 9],
    ],
)
def name_the_factor(answer: object) -> str | None:
    """A dictionary from each of the six observations to its factor's number."""
    if not isinstance(answer, Mapping):
        return "the answer is a dictionary; fill in the numbers in the one above."
    if missing := set(FACTORS) - set(answer):
        return f"{len(missing)} of the six sentences are missing; keep their words as they are."
    wrong = [sentence for sentence, factor in FACTORS.items() if answer[sentence] != factor]
    if wrong:
        return f"{len(FACTORS) - len(wrong)} of 6 are right. Think again about: {wrong[0]}."
    return None
