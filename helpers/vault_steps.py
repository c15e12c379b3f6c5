"""Three of the four helper scripts: initialize, unseal and configure Vault."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import hvac
import requests

from helpers import clients
from helpers.errors import LabError
from helpers.render import render
from helpers.topology import Target
from helpers.waiting import until

if TYPE_CHECKING:
    from helpers.lab import Lab

OPERATOR_PERIOD = "768h"  # renewed whenever the ladder is climbed; 32 days is Vault's own default maximum


def initialize(lab: Lab, shares: int | None = None, threshold: int | None = None) -> bool:
    """Initialize Vault once: split its master key, keep the shares and the root token as secrets.

    Returns whether it was done now. The numbers default to the topology's (1 and 1).
    Raises `LabError` when Vault is initialized and the keys are not here.
    """
    first = lab.topology.of("vault")[0]
    client = lab.vault(first.name, token="")
    if client.sys.is_initialized():
        if lab.home.secret("unseal-keys.json") is None:
            raise LabError(
                f"Vault is initialized but its unseal keys are not in {lab.home.path / 'secrets'}; "
                "run `lab down --purge` and start anew."
            )
        return False
    shares = shares or lab.topology.raw["vault"]["shares"]
    threshold = threshold or lab.topology.raw["vault"]["threshold"]
    if not 1 <= threshold <= shares or (shares > 1 and threshold == 1):
        raise LabError(
            f"{shares} shares with a threshold of {threshold} cannot be: the threshold is at least 1, "
            "at most the number of shares, and at least 2 when there are several."
        )
    answer = client.sys.initialize(secret_shares=shares, secret_threshold=threshold)
    lab.home.keep_secret("unseal-keys.json", json.dumps(answer["keys_base64"]))
    lab.home.keep_secret("root-token", answer["root_token"])
    return True


def unseal(lab: Lab, *names: str, wait: bool = True) -> list[str]:
    """Give every named Vault (default: all) its key shares; the first one leads.

    Returns the names of those that were sealed. With `wait` each has found its role, leader or standby,
    when this returns: after an unclean end that takes until the old lock has run out. Raises `LabError`
    when there are no keys.
    """
    keys = json.loads(lab.home.secret("unseal-keys.json") or "null")
    if keys is None:
        raise LabError("There are no unseal keys here; run `lab init` first.")
    done = []
    for name in names or [node.name for node in lab.topology.of("vault")]:
        if lab.topology[name].service != "vault":
            raise LabError(f"{name} runs no Vault; unseal {' or '.join(_names(lab))}.")
        if (state := lab.driver.state(Target(name, "vault"))) != "running":
            verb = "start" if state == "stopped" else "resume"
            raise LabError(f"The Vault on {name} is {state}; `lab {verb} {name}` changes that.")
        client = lab.vault(name, token="")
        # It may have been started a moment ago and not listen yet.
        if not until(client.sys.read_seal_status, f"An answer of the Vault on {name}", 10)["sealed"]:
            continue
        try:
            client.sys.submit_unseal_keys(keys)
        except hvac.exceptions.InvalidRequest as error:
            raise LabError(f"The Vault on {name} refuses the keys: {error}.") from None
        # With nobody leading, the one unsealed first must lead before the next is let in.
        if wait:
            wait_for_role(lab, name)
            wait_for_leader(lab)
        done.append(name)
    return done


def wait_for_role(lab: Lab, name: str) -> None:
    """Wait until a Vault leads or stands by; 60 s are enough for a lock that was never given back (45 s)."""
    until(partial(role, lab.vault(name, token="")), f"A role for the Vault on {name}", at_most=60)


def writes(lab: Lab, client: hvac.Client) -> bool:
    """Say whether a leader's storage takes a write; True when there is no token here to ask with.

    After a short outage of Consul's server a leader may call itself active for seconds although its lock is
    lost (in 2 of 9 outages of 5 s): health answers 200, and every write fails.
    """
    token = lab.home.secret("operator-token") or lab.home.secret("root-token")
    if token is None:
        return True
    try:
        clients.vault(client.url, token).write_data("cubbyhole/lab", data={"asked": "whether it writes"})
    except hvac.exceptions.Forbidden:
        return True  # it answered; the token is another matter
    except hvac.exceptions.VaultError:
        return False
    return True


def wait_for_leader(lab: Lab) -> None:
    """Wait until some Vault leads: a standby knows the address of a leader that died, too.

    90 s: after the loss of the whole cluster, Consul's server included, its session (twice 15 s) and the
    lock's delay (15 s) begin to run out only with the new server, and the standby asks every 5 s.
    """
    vaults = [lab.vault(name, token="") for name in _names(lab)]

    def led() -> bool:
        for client in vaults:
            with contextlib.suppress(requests.RequestException):
                if role(client) == "active" and writes(lab, client):
                    return True
        return False

    until(led, "The election of a Vault leader", at_most=90)


def _names(lab: Lab) -> list[str]:
    return [node.name for node in lab.topology.of("vault")]


def role(client: hvac.Client) -> str | None:
    """Return `active` or `standby` (one that knows its leader), or None while neither holds.

    Source: sys/health says 200 when active, 429 for a standby, 474 for one that cannot reach the active.
    """
    answer = client.sys.read_health_status(method="GET")
    status = 200 if isinstance(answer, dict) else answer.status_code
    if status == 200:
        return "active"
    if status == 429:
        leader = client.sys.read_leader_status()
        return "standby" if leader.get("leader_address") else None
    return None


def operator(lab: Lab) -> str:
    """Return the token to work with: the operator's, else the root token.

    Raises `LabError` when there is neither.
    """
    token = lab.home.secret("operator-token") or lab.home.secret("root-token")
    if token is None:
        raise LabError("There is no Vault token here; run `lab init` and `lab configure` first.")
    return token


def is_configured(client: hvac.Client, lab: Lab) -> bool:
    """Say whether everything that `configure` makes is there."""
    database = lab.topology.raw["database"]
    try:
        client.secrets.database.read_role(f"{database['role']}", mount_point=database["mount"])
        client.auth.approle.read_role("todo-migrate")
    except (hvac.exceptions.VaultError, requests.RequestException):
        return False
    return lab.home.secret("operator-token") is not None and lab.home.secret("root-token") is None


def lease(client: hvac.Client, lab: Lab) -> int:
    """Return the seconds that a credential of todo's role lives, as Vault has it now."""
    database = lab.topology.raw["database"]
    role = client.secrets.database.read_role(database["role"], mount_point=database["mount"])
    return int(role["data"]["default_ttl"])


def keep_operator(lab: Lab) -> None:
    """Renew the operator's token: a lab that is used at least once a month goes on for ever."""
    lab.active_vault().auth.token.renew_self()


def configure(lab: Lab) -> None:
    """Give Vault its audit log, policies, log-in for todo and database credentials; then revoke root.

    Idempotent. Afterwards the operator's token does all further work and the root token is gone.
    Raises `LabError` when Vault does not take the token that is kept here.
    """
    client = lab.active_vault()
    if not client.is_authenticated():
        raise LabError(
            "Vault does not take the token kept here; the operator's ends after 32 days without a `lab up`. "
            "`lab down --purge` and `lab up` give a new lab."
        )
    raw = lab.topology.raw
    database = raw["database"]
    with lab.step("audit log, policies, AppRole"):
        if "file/" not in client.sys.list_enabled_audit_devices()["data"]:
            # Relative on purpose: each Vault writes in its own folder, whoever leads.
            client.sys.enable_audit_device(
                "file", options={"file_path": "audit.log", "hmac_accessor": "false"}
            )
        for name in ("todo", "todo-migrate", "operator"):
            client.sys.create_or_update_policy(name, render(f"vault/policies/{name}.hcl", lab.topology))
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")
        client.auth.approle.create_or_update_approle(
            "todo",
            token_policies=["todo"],
            token_period=f"{raw['todo']['token_period']}s",
            token_no_default_policy=False,
        )
        client.auth.approle.create_or_update_approle(
            "todo-migrate",
            token_policies=["todo-migrate"],
            token_ttl="60s",
            token_max_ttl="60s",
            secret_id_num_uses=1,
        )
    with lab.step("database secrets engine: roles todo and todo-migrate"):
        _configure_database(client, lab, database)
    if (root := lab.home.secret("root-token")) is not None:
        with lab.step("operator's token made, root token revoked"):
            if lab.home.secret("operator-token") is None:
                answer = client.auth.token.create_orphan(
                    policies=["operator"], period=OPERATOR_PERIOD, display_name="operator"
                )
                lab.home.keep_secret("operator-token", answer["auth"]["client_token"])
            with contextlib.suppress(hvac.exceptions.Forbidden):  # an interrupted run has revoked it already
                clients.vault(client.url, root).auth.token.revoke_self()
            lab.home.drop_secret("root-token")


def _configure_database(client: hvac.Client, lab: Lab, database: dict[str, Any]) -> None:
    mount, name, role_name = database["mount"], database["name"], database["role"]
    if f"{mount}/" not in client.sys.list_mounted_secrets_engines()["data"]:
        client.sys.enable_secrets_engine("database", path=mount)
    # The user name of a credential may stand in the audit log in clear, so that one can see who had which.
    client.sys.tune_mount_configuration(mount, audit_non_hmac_response_keys=["username"])
    server = lab.topology.of("mysql")[0]
    client.secrets.database.configure(
        "mysql",
        plugin_name="mysql-database-plugin",
        allowed_roles=[role_name, f"{role_name}-migrate"],
        connection_url="{{username}}:{{password}}@tcp("
        f"{server.address}:{lab.topology.ports['mysql']})/",
        username="vaultadmin",
        password=lab.home.secret("vaultadmin"),
        mount_point=mount,
    )
    user = "CREATE USER '{{name}}'@'%' IDENTIFIED BY '{{password}}'; "
    # On the table, not the database: only then does a revoked credential lose its open sessions too.
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{name}`.`todos` TO '{{{{name}}}}'@'%';"
    client.secrets.database.create_role(
        role_name,
        db_name="mysql",
        creation_statements=[user + grant],
        default_ttl=f"{database['lease']}s",
        max_ttl=f"{database['max_lease']}s",
        mount_point=mount,
    )
    grant = f"GRANT CREATE, ALTER, INDEX, SELECT, INSERT, UPDATE ON `{name}`.* TO '{{{{name}}}}'@'%';"
    client.secrets.database.create_role(
        f"{role_name}-migrate",
        db_name="mysql",
        creation_statements=[user + grant],
        default_ttl="60s",
        max_ttl="60s",
        mount_point=mount,
    )
