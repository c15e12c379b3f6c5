"""Vault's audit log as a table: who had which credential, from when until when, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from helpers import audit

START = pd.Timestamp("2026-01-01T00:00:00Z")
PATH = "mysql/creds/todo"


def at(second: float) -> str:
    return (START + pd.Timedelta(seconds=second)).isoformat()


def issue(
    second: float, lease: str, user: str, instance: str = "todo0", accessor: str = "a0"
) -> dict[str, Any]:
    return {
        "type": "response",
        "time": at(second),
        "auth": {"accessor": accessor, "metadata": {"instance": instance, "role_name": "todo"}},
        "request": {"path": PATH, "client_token_accessor": accessor},
        "response": {"data": {"username": user, "password": "hmac-sha256:x"}, "secret": {"lease_id": lease}},
    }


def request(second: float, path: str, accessor: str = "a0", lease: str | None = None) -> dict[str, Any]:
    return {
        "type": "response",
        "time": at(second),
        "request": {"path": path, "client_token_accessor": accessor},
        "response": {"secret": {"lease_id": lease}} if lease else None,
    }


def ends(table: pd.DataFrame) -> list[tuple[str, float, float, str]]:
    seconds = (table[["issued", "until"]] - START).apply(lambda column: column.dt.total_seconds())
    return list(zip(table["user"], seconds["issued"], seconds["until"], table["ended"], strict=True))


def test_the_four_ends() -> None:
    entries = [
        issue(0, "l1", "given"),
        issue(4, "l2", "over"),
        issue(8, "l3", "logged-out"),
        request(5, "sys/leases/renew", lease="l1"),
        request(9, "auth/token/revoke-self"),
    ]
    assert ends(audit.credentials(entries, lease=4.5)) == [
        ("given", 0, 6, "given back"),
        ("over", 4, 8.5, "lease over"),
        ("logged-out", 8, 9, "login ended"),
    ]
    now = {**issue(0, "l4", "mine"), "time": pd.Timestamp.now("UTC").isoformat()}
    assert list(audit.credentials([now], lease=60)["ended"]) == ["in use"]


def test_a_login_ends_its_own_credentials_only() -> None:
    entries = [
        issue(0, "l1", "one", "todo0", "a0"),
        issue(1, "l2", "two", "todo1", "a1"),
        request(2, "auth/token/revoke-self", accessor="a1"),
    ]
    table = audit.credentials(entries, lease=60)
    assert list(table["instance"]) == ["todo0", "todo1"]
    assert list(table["ended"]) == ["lease over", "login ended"]


def test_what_ended_before_the_login_stays_ended() -> None:
    entries = [issue(0, "l1", "one"), request(100, "auth/token/revoke-self")]
    assert ends(audit.credentials(entries, lease=60)) == [("one", 0, 60, "lease over")]


def test_other_requests_are_not_credentials() -> None:
    entries = [
        request(0, "sys/leases/renew", lease="somebody-elses"),
        request(1, "mysql/roles/todo"),
        {**issue(2, "l1", "migrate"), "request": {"path": "mysql/creds/todo-migrate"}},
        {**request(3, PATH), "response": None},
    ]
    table = audit.credentials(entries, lease=60)
    assert table.empty
    assert list(table.columns) == audit.COLUMNS
    assert str(table["issued"].dtype).endswith("UTC]"), "an empty table compares with times, too"


def test_a_token_without_an_instance_has_its_display_name() -> None:
    entry = issue(0, "l1", "one")
    entry["auth"] = {"accessor": "a0", "display_name": "token-operator"}
    assert list(audit.credentials([entry], lease=60)["instance"]) == ["token-operator"]


def test_answers_of_several_files_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "0.log", tmp_path / "1.log"
    lines = [issue(3, "l3", "three"), {**issue(4, "l4", "refused"), "error": "permission denied"}]
    first.write_text("\n".join(map(json.dumps, lines)) + "\n")
    second.write_text(json.dumps(issue(1, "l1", "one")) + '\n{"type": "request"}\n{"type": "respon')
    found = audit.answers([first, second, tmp_path / "none.log"])
    assert [entry["response"]["data"]["username"] for entry in found] == ["one", "three"]


@pytest.mark.parametrize("instances", [1, 2, 3])
def test_figure(instances: int) -> None:
    entries = [
        issue(4 * number, f"l{number}-{who}", f"v-{number}{who}xx", f"todo{who}", f"a{who}")
        for number in range(4)
        for who in range(instances)
    ]
    table = audit.credentials(entries, lease=6)
    drawn = audit.figure(table, "title", (START, START + pd.Timedelta(seconds=10)))
    axes = drawn.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        f"todo{who}" for who in range(instances)
    ]
    bars = [patch for patch in axes.patches if patch.get_width() == pytest.approx(6)]
    assert len(bars) == 4 * instances
    hatches = {patch.get_hatch() for patch in bars}
    assert hatches == {audit.ENDS["lease over"][1]}, "a kind of end is told by its hatch as well"
    assert len({hatch for _, hatch in audit.ENDS.values()}) == len(audit.ENDS)
