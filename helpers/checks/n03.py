"""Checks of notebook 03: shares, and a role that only reads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import hvac
import pymysql

from helpers.exercises import exercise
from helpers.lab import Lab

_OPENS = {
    "three shares, given by a stranger without a token": True,
    "the root token, without a share": False,
    "the same share three times": False,
    "two shares given to vault0 and one to vault1": False,
    "the shares 2, 3 and 4, after vault0 was opened by 1, 3 and 5": True,
}


@exercise(
    "3.1",
    "who may unseal",
    hint="Where is the list of tokens kept, and what is needed to read it? In whose memory does a key lie?",
    right="shares are a proof that needs no log-in, they count once each, and each process collects its own.",
    wrong=[
        dict.fromkeys(_OPENS, True),
        dict.fromkeys(_OPENS, False),
        {**_OPENS, "the root token, without a share": True},
        {**_OPENS, "two shares given to vault0 and one to vault1": True},
    ],
)
def who_may_unseal(answer: Mapping[str, bool]) -> str | None:
    """Return the first case that `answer` judges wrongly."""
    if not isinstance(answer, Mapping):
        return "the answer names each of the five cases."
    for case, opens in _OPENS.items():
        if case not in answer:
            return f"the case {case!r} is missing."
        if not isinstance(answer[case], bool):
            return f"{case!r} is to be True or False."
        if answer[case] is not opens:
            return f"think again about {case!r}: try it, and look at the progress."
    return None


_ROLE = "report"
_LEASE = 30


@exercise(
    "3.2",
    "a role that only reads",
    hint="Two calls: create_role as above, with a shorter lease and fewer rights, on `Todo`.*; and "
    "configure once more, with a longer list allowed_roles. It keeps the address if you give it again.",
    right="it reads for 30 s and does nothing else.",
    wrong=["todo-migrate", "no-such-role", 7],
    lab=True,
)
def reads_only(answer: object) -> str | None:
    """Return what a credential of the role may do too much or too little, asked of the database."""
    if answer != _ROLE:
        return f"the answer is the name of the role, {_ROLE!r}."
    lab = Lab.open(say=_silent)
    vault = lab.active_vault()
    mount = lab.topology.raw["database"]["mount"]
    try:
        found = vault.secrets.database.generate_credentials(_ROLE, mount_point=mount)
    except hvac.exceptions.VaultError as error:
        return f"Vault gives no credential: {_reason(error)}."
    try:
        if found["lease_duration"] != _LEASE:
            return f"a credential lives for {found['lease_duration']} s; {_LEASE} s are wanted."
        return _rights(lab, found["data"]["username"], found["data"]["password"])
    finally:
        vault.sys.revoke_lease(found["lease_id"])


def _rights(lab: Lab, user: str, password: str) -> str | None:
    server = lab.topology.of("mysql")[0]
    try:
        session = pymysql.connect(host=server.address, user=user, password=password)
    except pymysql.err.OperationalError as error:
        return f"the database does not let the new user in: {error.args[1]}."
    with session, session.cursor() as cursor:
        cursor.execute("SHOW GRANTS FOR CURRENT_USER")
        lines = [row[0] for row in cursor.fetchall()]
    granted = {
        (right.strip(), match[2].replace("`", ""))
        for line in lines
        if (match := re.match(r"GRANT (.+?) ON (\S+) TO", line))
        for right in match[1].split(",")
    } - {("USAGE", "*.*")}
    if granted == {("SELECT", "Todo.*")}:
        return None
    told = ", ".join(f"{right} on {where}" for right, where in sorted(granted)) or "nothing"
    return f"the user may do this: {told}. SELECT on Todo.* is wanted."


def _reason(error: Exception) -> str:
    """Return what Vault says, without its bullets and the address."""
    text = str(error).partition(", on ")[0]
    return " ".join(text.replace("1 error occurred:", "").replace("*", "").split()).rstrip(".")


def _silent(_: str) -> None:
    """Say nothing: the lab is there already."""


_DIRECTORS: dict[str, tuple[int, str]] = {
    "may be away": (3, "4 of the 7 have to be there"),
    "a thief needs": (4, "as many as any honest group does"),
    "lost for ever when destroyed": (4, "with 3 destroyed there are 4 left, and 4 open it"),
}


@exercise(
    "3.3",
    "seven directors",
    hint="Call the shares n and the threshold t. Who is left when n - t are away? And when one more is?",
    right="a high threshold keeps thieves out, a low one keeps the Vault openable: 7 and 4 is a balance.",
    wrong=[
        {"may be away": 4, "a thief needs": 4, "lost for ever when destroyed": 4},
        {"may be away": 3, "a thief needs": 3, "lost for ever when destroyed": 4},
        {"may be away": 3, "a thief needs": 4, "lost for ever when destroyed": 7},
        {"may be away": 3, "a thief needs": 4, "lost for ever when destroyed": 3},
        "4",
    ],
)
def directors(answer: Mapping[str, Any]) -> str | None:
    """Return the first of the three numbers that is wrong, with a reason that does not give it away."""
    if not isinstance(answer, Mapping):
        return "the answer has three numbers, each with its name."
    for name, (expected, why) in _DIRECTORS.items():
        if answer.get(name) != expected:
            return f"{name!r}: think of this: {why}."
    return None
