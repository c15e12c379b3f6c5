"""Checks of notebook 04: who had a credential, how long a lease, and a start by hand."""

from __future__ import annotations

from contextlib import suppress
from secrets import token_hex

import hvac
import pandas as pd

from helpers import audit
from helpers.exercises import exercise
from helpers.lab import Lab


def _table() -> pd.DataFrame:
    """Return four credentials of two instances: one overlap, one gap, one that ends as another begins."""
    midnight = pd.Timestamp("2026-01-01", tz="UTC")
    rows = [
        ("todo0", "v-approle-todo-d", 0, 60),
        ("todo0", "v-approle-todo-b", 40, 100),
        ("todo1", "v-approle-todo-c", 60, 90),
        ("todo1", "v-approle-todo-a", 120, 180),
    ]
    return pd.DataFrame(
        [
            {
                "instance": instance,
                "user": user,
                "issued": midnight + pd.Timedelta(seconds=issued),
                "until": midnight + pd.Timedelta(seconds=until),
                "ended": "given back",
            }
            for instance, user, issued, until in rows
        ]
    )


@exercise(
    "4.1",
    "who was it?",
    hint="Two conditions on two columns, joined by `&`, each in parentheses; then the column `user`.",
    right="a moment in an overlap has two names of one instance.",
    wrong=[
        lambda *_: [],
        lambda credentials, _: list(credentials["user"]),
        lambda credentials, moment: sorted(credentials[credentials["issued"] <= moment]["user"]),
        lambda credentials, moment: sorted(
            credentials[(credentials["issued"] <= moment) & (credentials["until"] >= moment)]["user"]
        ),
    ],
)
def valid_then(answer: object) -> str | None:
    """Try the function on a table of four credentials, at moments inside, between and on the edges."""
    if not callable(answer):
        return "`answer` must be a function of a table and a moment."
    table = _table()
    midnight = table["issued"].min()
    expected = {
        10: ["d"],
        40: ["b", "d"],
        50: ["b", "d"],
        60: ["b", "c"],
        95: ["b"],
        110: [],
        119: [],
        120: ["a"],
        180: [],
    }
    for second, letters in expected.items():
        found = answer(table.copy(), midnight + pd.Timedelta(seconds=second))
        wanted = [f"v-approle-todo-{letter}" for letter in letters]
        if list(found) != wanted:
            return f"at {second} s of the check's own table it gives {list(found)}, and {wanted} were valid."
    return None


@exercise(
    "4.2",
    "how long a lease?",
    hint="The next credential comes at 55 to 70 % of the lease, any point as likely as another. On average?",
    right="600 s are 62.5 % of 960 s. The longest pause is then 11.2 minutes, the shortest 8.8.",
    wrong=[600, 375, 10, "10m"],
)
def lease_for_ten_minutes(answer: object) -> str | None:
    """Accept the lease whose mean point of renewal is 600 s, give or take 5 %."""
    if not isinstance(answer, int | float):
        return "give the lease as a number of seconds."
    mean = (0.55 + 0.70) / 2
    if abs(answer * mean - 600) > 30:
        return (
            f"with a lease of {answer:g} s the next credential comes after {answer * mean:.0f} s on average."
        )
    return None


@exercise(
    "4.3",
    "be todo",
    hint=(
        "Four lines. A client whose token is the wrapping token may unwrap it: sys.unwrap(). Then "
        "auth.approle.login(role_id, secret_id), which gives the client its own token, and "
        "secrets.database.generate_credentials(role, mount_point=…)."
    ),
    right="that is all of todo's start: from a voucher and a role id to a user of the database.",
    wrong=[
        lambda *_: "v-approle-todo-invented",
        lambda address, _, voucher: hvac.Client(url=address, token=voucher).sys.unwrap()["data"]["secret_id"],
    ],
    lab=True,
)
def start_by_hand(answer: object) -> str | None:
    """Call the function with a voucher of its own and look in the audit log for what it did."""
    if not callable(answer):
        return "`answer` must be a function of an address, a role id and a wrapping token."
    lab = Lab.open(lambda _: None)
    vault = lab.active_vault()
    approle = vault.auth.approle
    role_id = approle.read_role_id("todo")["data"]["role_id"]
    instance = f"exercise-{token_hex(4)}"  # an earlier call's credential must not count for this one
    wrapped = approle.generate_secret_id("todo", metadata={"instance": instance}, wrap_ttl="60s")
    accessor = wrapped["wrap_info"]["wrapped_accessor"]
    token = wrapped["wrap_info"]["token"]
    try:
        user = answer(vault.url, role_id, token)
        try:
            vault.write_data("sys/wrapping/lookup", data={"token": token})
        except hvac.exceptions.InvalidRequest:
            pass
        else:
            return "the voucher is still good: unwrap it with sys.unwrap."
        issued = audit.credentials(audit.read(lab), lease=lab.topology.raw["database"]["lease"])
        mine = issued[issued["instance"] == instance]
        if mine.empty:
            return "the voucher is used up, but nobody who logged in with it asked for a credential."
        if user != mine["user"].iloc[-1]:
            return "a credential was issued to you; return its user name, as Vault's answer has it."
    finally:
        _leave_nothing(vault, lab, instance, accessor)
    return None


def _leave_nothing(vault: hvac.Client, lab: Lab, instance: str, accessor: str) -> None:
    """Destroy the check's secret id and end the login that was made with it."""
    for entry in audit.read(lab):
        logged_in = (entry.get("response") or {}).get("auth") or {}
        if logged_in.get("metadata", {}).get("instance") == instance:
            with suppress(hvac.exceptions.VaultError):  # the function may have ended its login itself
                vault.auth.token.revoke_accessor(logged_in["accessor"])
    with suppress(hvac.exceptions.VaultError):
        vault.auth.approle.destroy_secret_id_accessor("todo", accessor)
