"""Credentials that change under load, die under it, and outlive their Vault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from todo_instance import START, Instance, Load, lease, new_session, until

from helpers import Lab

LEASE = 4
"""Seconds: short enough that a test sees several rotations."""


@pytest.fixture
def short(lab: Lab) -> Iterator[None]:
    """Leases of four seconds, and the usual ones afterwards."""
    with lease(lab, LEASE):
        yield


def users(lab: Lab) -> set[str]:
    with lab.mysql_as("vaultadmin") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT User FROM mysql.user WHERE User LIKE 'v-%'")
        return {row[0] for row in cursor.fetchall()}


def test_rotation_under_load_loses_no_request(lab: Lab, short: None, tmp_path: Path) -> None:
    with Instance(lab, tmp_path, 8096) as instance:
        first = instance.health()[1]["credential"]["user"]
        assert first in users(lab)
        with Load(instance.url, clients=8) as load:
            # Each lasts 55 to 70 % of 4 s: five take 14 s at most.
            assert until(lambda: instance.events("credential_in_use") >= 5, 25)
        assert not load.failures, load.failures[:3]
        assert load.total > 200
        assert instance.events("statement_failed") == 0, "nothing had to be tried twice"
        assert until(lambda: first not in users(lab), 5), "the old user is gone"
        assert instance.health()[1]["credential"]["user"] in users(lab)


def test_leases_and_log_in_revoked_behind_its_back_cost_no_request(lab: Lab, tmp_path: Path) -> None:
    """First all database users go, then the token with all that hangs on it (as after Vault's loss)."""
    with Instance(lab, tmp_path, 8097) as instance, Load(instance.url, clients=4) as load:
        for prefix in ("mysql/creds/todo", "auth/approle/login"):
            before = instance.events("credential_in_use")
            # A credential younger than a second is not replaced: its age is not what ails it.
            assert until(lambda: instance.health()[1]["credential"]["age"] > 1.2, 5)
            lab.active_vault().sys.revoke_prefix(prefix)
            assert until(lambda before=before: instance.events("credential_in_use") > before, 10)
            done = load.total
            assert until(lambda done=done: load.total > done + 50, 10), "it serves on"
    assert not load.failures, load.failures[:3]
    assert instance.events("statement_failed") > 0, "the dead credential was met by a statement"


def test_an_idle_instance_recovers_by_its_own_health_check(lab: Lab, tmp_path: Path) -> None:
    with Instance(lab, tmp_path, 8101) as instance:
        assert until(lambda: instance.health()[1]["credential"]["age"] > 1.2, 5)
        lab.active_vault().sys.revoke_prefix("mysql/creds/todo")
        assert instance.health()[0] == 200
        assert instance.events("credential_in_use") == 2


def test_without_vault_hold_goes_on_and_fail_stops_at_the_leases_end(
    lab: Lab, short: None, tmp_path: Path
) -> None:
    with (
        Instance(lab, tmp_path, 8098) as holds,
        Instance(lab, tmp_path, 8099, TODO_ON_VAULT_LOSS="fail") as fails,
        new_session() as session,
        Load(holds.url, clients=2) as load,
    ):
        leader, standby = (lab.resolve(f"vault.{role}")[0] for role in ("leader", "standby"))
        lab.stop(str(standby))
        lab.vault(leader.node).sys.seal()
        try:
            # The lease is 4 s; the credential was at most 2.8 s old.
            assert until(lambda: fails.health()[0] == 503, LEASE + 2)
            refused = session.get(f"{fails.url}/todo", timeout=5)
            assert (refused.status_code, list(refused.json())) == (503, ["error"])
            assert until(lambda: (holds.health()[1]["credential"] or {})["expires_in"] < -2, LEASE + 4)
            code, health = holds.health()
            assert (code, health["status"], health["vault"]["reachable"]) == (200, "degraded", False)
            assert not load.failures, load.failures[:3]
        finally:
            lab.start(str(standby))
            lab.unseal(leader.node, standby.node)
        # Pauses between attempts are 5 s at most; Vault drops overdue users as soon as it is back.
        assert until(lambda: holds.health()[1]["status"] == "passing", 15)
        assert until(lambda: fails.health()[0] == 200, 15)
        assert session.get(f"{fails.url}/todo", timeout=5).status_code == 200
    assert not load.failures, load.failures[:3]


def test_an_instance_started_without_vault_waits_for_it(lab: Lab, tmp_path: Path) -> None:
    leader, standby = (lab.resolve(f"vault.{role}")[0] for role in ("leader", "standby"))
    instance = Instance(lab, tmp_path, 8100)
    lab.stop(str(standby))
    lab.vault(leader.node).sys.seal()
    instance.start()
    try:
        assert until(lambda: instance.health()[1].get("status") == "starting", START), instance.told()
        assert instance.health()[0] == 503
        assert instance.name not in lab.consul("todo0").agent.services()
        lab.start(str(standby))
        lab.unseal(leader.node, standby.node)
        assert until(instance.healthy, START), instance.told()
        assert until(lambda: instance.name in lab.consul("todo0").agent.services(), 5)
    finally:
        assert instance.end() == 0
