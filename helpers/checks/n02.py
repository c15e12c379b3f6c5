"""Checks of notebook 02: discovery, watching, and policies."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import hvac

from helpers.exercises import exercise
from helpers.lab import Lab

# Instances as an agent tells them; the second has no address of its own, the others are not well: one by its
# own check, one by half, one by its node's.
_ENTRIES: list[dict[str, Any]] = [
    {
        "Node": {"Node": node, "Address": f"192.0.2.{number}"},
        "Service": {"ID": node, "Service": "shop", "Tags": [], "Address": address, "Port": 8000 + number},
        "Checks": [
            {"Node": node, "CheckID": "serfHealth", "Status": alive},
            {"Node": node, "CheckID": "service:shop", "Status": status},
        ],
    }
    for node, number, address, alive, status in (
        ("one", 1, "198.51.100.1", "passing", "passing"),
        ("two", 2, "", "passing", "passing"),
        ("three", 3, "198.51.100.3", "passing", "critical"),
        ("four", 4, "198.51.100.4", "passing", "warning"),
        ("five", 5, "198.51.100.5", "critical", "passing"),
    )
]


def _agent() -> Any:
    """Return what a client answers about a service with five instances, two of them passing."""

    def health(service: str, **asked: Any) -> Any:
        well = [e for e in _ENTRIES if all(check["Status"] == "passing" for check in e["Checks"])]
        return "12", (well if asked.get("passing") else _ENTRIES) if service == "shop" else []

    def catalog(service: str, **_: Any) -> Any:
        return "12", [
            {
                "Node": e["Node"]["Node"],
                "Address": e["Node"]["Address"],
                "ServiceAddress": e["Service"]["Address"],
                "ServicePort": e["Service"]["Port"],
            }
            for e in _ENTRIES
            if service == "shop"
        ]

    return SimpleNamespace(health=SimpleNamespace(service=health), catalog=SimpleNamespace(service=catalog))


def _from_catalog(client: Any, service: str) -> list[str]:
    """Ask the catalog: the dead are on the list, too."""
    found = client.catalog.service(service)[1]
    return [f"{e['ServiceAddress'] or e['Address']}:{e['ServicePort']}" for e in found]


def _own_check_only(client: Any, service: str) -> list[str]:
    """Filter by the service's own check: what its node's says is lost."""
    found = client.health.service(service)[1]
    well = [e for e in found if e["Checks"][-1]["Status"] == "passing"]
    return [f"{e['Service']['Address'] or e['Node']['Address']}:{e['Service']['Port']}" for e in well]


def _not_critical(client: Any, service: str) -> list[str]:
    """Take what is not critical: a warning is no pass."""
    found = client.health.service(service)[1]
    well = [e for e in found if all(check["Status"] != "critical" for check in e["Checks"])]
    return [f"{e['Service']['Address'] or e['Node']['Address']}:{e['Service']['Port']}" for e in well]


def _without_node_address(client: Any, service: str) -> list[str]:
    """Forget that a service may have no address of its own."""
    found = client.health.service(service, passing=True)[1]
    return [f"{e['Service']['Address']}:{e['Service']['Port']}" for e in found]


def _always_node_address(client: Any, service: str) -> list[str]:
    """Take the node's address even where the service has its own."""
    found = client.health.service(service, passing=True)[1]
    return [f"{e['Node']['Address']}:{e['Service']['Port']}" for e in found]


def _nobody(*_: Any) -> list[str]:
    """Find nobody at all."""
    return []


@exercise(
    "2.1",
    "where a client connects to",
    hint="health.service(..., passing=True) returns an index and a list of entries; each has the parts "
    "Node and Service. Which of the two has an address when the service has none?",
    right="you ask for the passing only, and a service without an address is where its node is.",
    wrong=[
        *(_from_catalog, _own_check_only, _not_critical),
        *(_without_node_address, _always_node_address, _nobody),
    ],
)
def addresses(answer: Callable[[Any, str], list[str]]) -> str | None:
    """Return what is wrong with the addresses that `answer(client, service)` finds."""
    if not callable(answer):
        return "the answer is a function: `def answer(client, service):`."
    found = answer(_agent(), "shop")
    if not isinstance(found, list | tuple | set):
        return f"it returns a {type(found).__name__} where a list of texts is expected."
    got = set(found)
    if any(str(each).endswith((":8003", ":8004", ":8005")) for each in got):
        return "it names an instance of which not every check passes: ask for passing."
    if ":8002" in got:
        return "an instance without an address of its own got none: Consul means the address of its node."
    if "192.0.2.1:8001" in got:
        return "an instance with an address of its own got the address of its node."
    if got != {"198.51.100.1:8001", "192.0.2.2:8002"}:
        return (
            f"of two passing instances it returns {sorted(map(str, got))}; ADDRESS:PORT of each is expected."
        )
    if answer(_agent(), "nobody"):
        return "a service that nobody offers has an address."
    return None


_STEPS = (
    ("41", "42", "42", "a higher index is handed back"),
    ("42", "42", "42", "the same index is handed back: time was up"),
    (None, "42", "42", "at the first time there is no old index"),
    ("9", "10", "10", "10 is more than 9, though as texts they sort the other way round"),
    ("100", "99", None, "99 is less than 100, though as texts they sort the other way round"),
    ("42", "7", None, "the index fell: begin again"),
    (None, "0", None, "an index below 1 does not block"),
)


def _returned(_old: str | None, new: str) -> str:
    """Hand back what came, falling or not."""
    return new


def _as_texts(old: str | None, new: str) -> str | None:
    """Compare indexes as texts."""
    return None if int(new) < 1 or (old is not None and new < old) else new


def _not_below_one(old: str | None, new: str) -> str | None:
    """Accept an index of 0."""
    return None if old is not None and int(new) < int(old) else new


def _one_more(old: str | None, _new: str) -> str:
    """Count by oneself."""
    return str(int(old or 0) + 1)


@exercise(
    "2.2",
    "the next index",
    hint="Indexes arrive as texts. What does Python say to '9' < '10'?",
    right="the index goes on, and a falling one begins again.",
    wrong=[
        _returned,
        _as_texts,
        _not_below_one,
        _one_more,
    ],
)
def next_index(answer: Callable[[str | None, str], str | None]) -> str | None:
    """Return the first step between two queries that `answer(old, new)` gets wrong."""
    if not callable(answer):
        return "the answer is a function: `def answer(old, new):`."
    for old, new, expected, why in _STEPS:
        found = answer(old, new)
        if found is not None and str(found) == expected:
            continue
        if found is None and expected is None:
            continue
        return f"answer({old!r}, {new!r}) is {found!r}, and {expected!r} is expected: {why}."
    return None


_POLICY = "exercise-2-3"
_ALLOWED = {"mysql/creds/todo": ["read"], "mysql/roles": ["list"]}
_REFUSED = (
    "mysql/creds/todo-migrate",
    "mysql/roles/todo",
    "mysql/config/mysql",
    "mysql/creds/todo/anything",
    "sys/mounts",
)


def _silent(_: str) -> None:
    """Say nothing: the lab is there already."""


@exercise(
    "2.3",
    "the smallest policy",
    hint='Two blocks of the form path "…" { capabilities = ["…"] }, and no star in either path: '
    "what else would it match?",
    right="it allows two things and nothing besides.",
    wrong=[
        'path "mysql/*" {\n  capabilities = ["read", "list"]\n}',
        'path "mysql/creds/*" {\n  capabilities = ["read"]\n}\n'
        'path "mysql/roles" {\n  capabilities = ["list"]\n}',
        'path "mysql/creds/todo" {\n  capabilities = ["read"]\n}',
        'path "mysql/creds/todo" {\n  capabilities = ["read", "update"]\n}\n'
        'path "mysql/roles" {\n  capabilities = ["list"]\n}',
        "read mysql/creds/todo",
        7,
    ],
    lab=True,
)
def smallest_policy(answer: object) -> str | None:
    """Return what a token with this policy may do too much or too little, asked of Vault itself."""
    if not isinstance(answer, str):
        return "a policy is a text in Vault's language, such as the one printed above."
    vault = Lab.open(say=_silent).active_vault()
    try:
        vault.sys.create_or_update_policy(_POLICY, answer)
    except hvac.exceptions.InvalidRequest as error:
        return f"Vault cannot read it: {str(error).partition(', on ')[0].strip()}."
    try:
        found = _capabilities(vault)
    finally:
        vault.sys.delete_policy(_POLICY)
    for path, wanted in _ALLOWED.items():
        if found[path] == ["deny"]:
            return f"a token with it may do nothing at {path}, and {wanted[0]} is needed."
        if sorted(found[path]) != wanted:
            return f"a token with it may {', '.join(found[path])} at {path}; {wanted[0]} is enough."
    for path in _REFUSED:
        if found[path] != ["deny"]:
            return f"a token with it may {', '.join(found[path])} at {path}, which the tool does not need."
    return None


def _capabilities(vault: hvac.Client) -> dict[str, list[str]]:
    token = vault.auth.token.create(policies=[_POLICY], ttl="60s", no_default_policy=True)["auth"]
    try:
        asked = [*_ALLOWED, *_REFUSED]
        answer = vault.sys.get_capabilities(asked, token=token["client_token"])["data"]
        return {path: answer[path] for path in asked}
    finally:
        vault.auth.token.revoke_accessor(token["accessor"])
