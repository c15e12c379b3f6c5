"""The lab as a notebook or a command sees it: a ladder of states, clients, and verbs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import hvac
import pymysql
import requests

from helpers import changes, clients, deploy, faults, networks, nodes, states, vault_steps
from helpers.drivers import Driver, Say, vagrant
from helpers.drivers.local import LocalDriver
from helpers.drivers.netns import NetnsDriver
from helpers.errors import LabError, RoleVacantError
from helpers.home import MARKER, Home
from helpers.programs import find
from helpers.topology import Target, load

if TYPE_CHECKING:
    from helpers.experiment import Run
    from helpers.status import Status


DRIVERS: dict[str, type[LocalDriver]] = {
    "local": LocalDriver,
    "netns": NetnsDriver,
    "vagrant": vagrant.VagrantDriver,
}


def _network(driver: str, home: Home) -> str:
    """Return the network of a new lab."""
    match driver:
        case "local":
            return networks.claim(home)
        case "vagrant":
            return vagrant.network()
    return load(driver).network


def _print(line: str) -> None:
    print(line, flush=True)


class Lab:
    """A six-node lab: where it is, what runs it, and what can be done with it."""

    def __init__(self, home: Home, driver: Driver, say: Say = _print) -> None:
        self.home = home
        self.driver = driver
        self.say = say
        self.topology = driver.topology
        self.timings: list[tuple[str, float]] = []

    # ---- opening ------------------------------------------------------------------------

    @classmethod
    def open(cls, say: Say = _print) -> Lab:
        """Return the lab of `LAB_HOME` in whatever state it is, making its folder when there is none."""
        home = Home.locate()
        home.create()
        settings = home.settings
        wanted = os.environ.get("LAB_DRIVER") or None
        chosen = wanted or "local"
        # A driver that refused to start has made nothing: another one may be tried at once.
        if "driver" not in settings or (settings.get("state") is None and chosen != settings["driver"]):
            name = chosen
            if name not in DRIVERS:
                raise LabError(f"LAB_DRIVER is {name!r}; the drivers are {', '.join(DRIVERS)}.")
            home.remember(driver=name, network=_network(name, home))
            settings = home.settings
        elif wanted is not None and wanted != settings["driver"]:
            raise LabError(
                f"The lab in {home.path} has the driver {settings['driver']}, and LAB_DRIVER is {wanted}; "
                "run `lab down --purge` with the old one, or set LAB_HOME to another folder."
            )
        if settings["driver"] not in DRIVERS or "network" not in settings:
            raise LabError(
                f"{home.path / MARKER} names no driver and network that can be used; "
                f"remove {home.path} and start anew."
            )
        networks.past_proxies(settings["network"])
        topology = load(settings["driver"], settings["network"])
        return cls(home, DRIVERS[settings["driver"]](home, topology), say)

    @classmethod
    def at(cls, state: str, say: Say = _print) -> Lab:
        """Return the lab in a state (`down` … `deployed`), taken there from wherever it is.

        Says each step with its time. Raises `LabError` when the state is unknown or cannot be reached.
        """
        lab = cls.open(say)
        lab.reach(state)
        return lab

    def reach(self, state: str, quiet: bool = False) -> None:
        """Climb or descend to a state; idempotent. `quiet` leaves out what each step says."""
        say = self.say
        if quiet:
            self.say = lambda _line: None
        try:
            with self.home.changing():
                states.reach(self, state)
        finally:
            self.say = say

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce a step when it is done, with the seconds it took; keep them in `timings`."""
        begun = time.monotonic()
        yield
        took = time.monotonic() - begun
        self.timings.append((what, took))
        self.say(f"  {took:5.1f} s  {what}")

    # ---- clients ------------------------------------------------------------------------

    def consul(self, node: str = "consul") -> clients.ConsulClient:
        """Return a client of a node's own Consul agent."""
        return clients.ConsulClient(self.topology[node].address, self.topology.ports["consul_http"])

    def address_of_vault(self, node: str) -> str:
        """Return a Vault's base URL."""
        return f"http://{self.topology[node].address}:{self.topology.ports['vault']}"

    def vault(self, node: str = "vault0", token: str | None = None) -> hvac.Client:
        """Return a client of one Vault with the operator's token, or with another (`""`: none)."""
        if self.topology[node].service != "vault":
            raise LabError(f"{node} runs no Vault.")
        token = vault_steps.operator(self) if token is None else token
        return clients.vault(self.address_of_vault(node), token)

    def active_vault(self) -> hvac.Client:
        """Return a client of the Vault that leads; `LabError` when none does."""
        return self.vault(self.resolve("vault.leader")[0].node)

    def mysql(self) -> pymysql.Connection[Any]:
        """Return an open connection to the database with a fresh credential from Vault."""
        database = self.topology.raw["database"]
        answer = self.active_vault().secrets.database.generate_credentials(
            database["role"], mount_point=database["mount"]
        )["data"]
        return self._connect(answer["username"], answer["password"], database["name"])

    def mysql_as(self, user: str) -> pymysql.Connection[Any]:
        """Return an open connection as a user whose password is among the lab's secrets."""
        password = self.home.secret(user)
        if password is None:
            raise LabError(f"There is no password of {user} here; `lab up` makes one.")
        return self._connect(user, password, self.topology.raw["database"]["name"])

    def _connect(self, user: str, password: str, database: str) -> pymysql.Connection[Any]:
        server = self.topology.of("mysql")[0]
        tls = find("mariadb").flavour == "mysql"
        port = self.topology.ports["mysql"]
        return clients.mysql(server.address, port, user, password, database, tls=tls)

    def can(self, fault: str) -> bool:
        """Say whether this lab's driver can do a fault; `LabError` when there is no such fault."""
        return faults.lacking(self.driver, fault) is None

    # ---- what is so ---------------------------------------------------------------------

    @property
    def state(self) -> str:
        """The highest state of the ladder that the lab is in, found by asking its servers."""
        return states.current(self)

    def status(self) -> Status:
        """Return the two tables: every Vault, every todo."""
        from helpers.status import status  # pandas costs half a second that a command need not pay

        return status(self)

    def resolve(self, text: str) -> list[Target]:
        """Return what a target means at this moment.

        `todo0` (its service), `todo0:agent`, `vault.leader`, `vault.standby`, `vault.all`,
        `todo.any`, `todo.all` (every passing instance), or `all`.
        Raises `LabError` when it is unknown or nobody has that role.
        """
        match text:
            case "all":
                return [t for t in self.topology.programs() if not self.topology[t.node].spare]
            case "vault.leader" | "vault.standby":
                wanted = "active" if text == "vault.leader" else "standby"
                found = [t for t, role in self._vault_roles().items() if role == wanted]
                if not found:
                    word = "leads" if wanted == "active" else "stands by"
                    raise RoleVacantError(f"No Vault {word} at the moment; `lab status` shows why.")
                return found[:1]
            case "vault.all":
                return [Target(node.name, "vault") for node in self.topology.of("vault")]
            case "todo.any" | "todo.all":
                names = sorted(deploy.passing_instances(self))
                if not names:
                    raise LabError("No todo is passing in Consul at the moment; run `lab heal`.")
                return [Target(name, "todo") for name in (names if text == "todo.all" else names[:1])]
        return [self.topology.target(text)]

    def _vault_roles(self) -> dict[Target, str | None]:
        roles: dict[Target, str | None] = {}
        for node in self.topology.of("vault"):
            try:
                roles[Target(node.name, "vault")] = vault_steps.role(self.vault(node.name, ""))
            except (requests.RequestException, hvac.exceptions.VaultError):
                roles[Target(node.name, "vault")] = None
        return roles

    def logs(self, target: str, lines: int | None = None) -> list[str]:
        """Return a program's log lines (the last `lines`, or all).

        Raises `LabError` when it never ran.
        """
        found = self.topology.target(target)
        file = self.home.log(found.node, found.program)
        if not file.exists():
            raise LabError(f"{found} has not run yet, so it has no log.")
        text = file.read_text(errors="replace").splitlines()
        return text[-lines:] if lines else text

    # ---- verbs --------------------------------------------------------------------------

    def init(self, shares: int | None = None, threshold: int | None = None) -> None:
        """Initialize Vault (once), keeping its key shares and root token as secrets."""
        self.need("nodes")
        with self.step("Vault initialized, keys kept"):
            done = vault_steps.initialize(self, shares, threshold)
        states.at_least(self, "initialized")
        if not done and (shares or threshold):
            raise LabError(
                "Vault is initialized already, and its shares cannot be changed by this; "
                "`lab down --purge` and `lab up nodes` give a new one."
            )
        if not done:
            self.say("  Vault was initialized before; nothing was done")

    def unseal(self, *nodes: str) -> None:
        """Unseal the named Vaults, or all."""
        self.need_driver()
        with self.step("Vault unsealed"):
            vault_steps.unseal(self, *nodes)
        if not nodes:
            states.at_least(self, "unsealed")

    def configure(self) -> None:
        """Make Vault's policies, log-ins and database roles."""
        self.need("unsealed")
        for node in self.topology.of("mysql"):
            nodes.register_database(self, node)  # it is not, when the machines came by `vagrant up` alone
        vault_steps.configure(self)
        states.at_least(self, "configured")

    def deploy(self, *nodes: str, extra: dict[str, str] | None = None) -> None:
        """Deploy todo to the named nodes, or migrate the schema and deploy to all regular ones.

        `extra` adds variables to the instances' environment.
        """
        self.need("configured")
        if not nodes:
            with self.step("schema migrated"):
                deploy.migrate(self)
        names = list(nodes) or [node.name for node in self.topology.of("todo")]
        with self.step(f"{' and '.join(names)} passing in Consul"):
            deploy.deliver(self, names, extra)
        if not nodes:
            states.at_least(self, "deployed")

    def start(self, target: str) -> None:
        """Start a program; a todo gets a new secret id with it, a Vault stays sealed."""
        self.need_driver()
        found = self.topology.target(target)
        if found.program == "todo" and self.driver.state(found) == "stopped":
            self.deploy(found.node)
            return
        self.driver.start([found])

    def stop(self, target: str) -> None:
        """Ask a program to end in order (TERM) and wait."""
        self.driver.stop(self.running(target))

    def kill(self, target: str) -> None:
        """End a program at once (KILL)."""
        for found in self.running(target):
            self.driver.signal(found, "KILL")

    def pause(self, target: str) -> None:
        """Freeze a program (STOP)."""
        for found in self.running(target):
            self.driver.signal(found, "STOP")

    def resume(self, target: str) -> None:
        """Let a frozen program go on (CONT)."""
        for found in self.running(target):
            self.driver.signal(found, "CONT")

    def running(self, target: str) -> list[Target]:
        """Resolve a target to programs that run; `LabError` when one does not."""
        self.need_driver()
        found = self.resolve(target)
        for one in found:
            if self.driver.state(one) == "stopped":
                raise LabError(f"{one} does not run; `lab start {one}` starts it.")
        return found

    def heal(self) -> None:
        """Repair everything: wake, start, unseal, redeploy, until the lab is in its last wanted state."""
        with self.home.changing():
            states.heal(self)

    def changed(self, section: str, **settings: Any) -> AbstractContextManager[None]:
        """Return a context in which the lab runs with other settings: `lab.changed("check", interval=1)`.

        Sections are those of `lab/topology.yaml`: `check`, `database`, `todo`, `vault`.
        """
        return changes.changed(self, section, **settings)

    def down(self, purge: bool = False) -> None:
        """End every process of the lab; with `purge` remove its folder and give its network back."""
        with self.home.changing(), self.step("all processes ended"):
            self.driver.down(self.say)
        if purge:
            networks.release(self.home)
            self.home.purge()

    def record(self, title: str, predict: dict[str, float] | None = None, **options: Any) -> Run:
        """Return a recorded experiment, to be used as a context manager."""
        from helpers.experiment import Run

        return Run(self, title, predict or {}, **options)

    # ---- guards -------------------------------------------------------------------------

    def need_driver(self) -> None:
        """Raise `LabError` when no lab is running."""
        if not self.driver.alive:
            raise LabError("No lab is running; `lab up` starts one.")

    def need(self, state: str) -> None:
        """Raise `LabError` when what a state gives is not there.

        One of two Vaults is enough: what can be done in a lab with a fault must not ask for a whole one.
        """
        self.need_driver()
        if states.suffices(self, state):
            return
        now = self.state
        if states.STATES.index(now) < states.STATES.index(state):
            raise LabError(f"The lab is in state {now}, and this needs {state}; run `lab up {state}`.")
