"""The database credential: one thread asks for the next one long before the last one ends.

Re-issued at 55 to 70 % of the lease, at a random point, so that instances started together
spread out. Renewing the lease instead would only move the cliff to the lease's maximum.
The thread alone talks to Vault; requests read the current pool and never wait for Vault,
except when their credential died under them.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import pymysql
import requests
import structlog
from hvac.exceptions import VaultDown

from todo.discovery import Watcher
from todo.errors import NoInstanceError, RefusalError
from todo.mysql import reason
from todo.settings import Settings
from todo.vault import AWAY, AppRole, Credential, Session

if TYPE_CHECKING:
    from todo.database import Database, Pool

EARLY, LATE = 0.55, 0.70
"""The share of a lease after which the next credential is asked for."""
BACKOFF = (0.5, 5.0)
"""Seconds: the first and the largest upper end of the random pause after a failure."""
PING = 5.0
"""Seconds after which Vault is asked for a sign of life when there is nothing else to ask."""
GRACE = 1.0
"""Seconds that an old pool is given at least before its lease is revoked."""
PATIENCE = 10.0
"""Seconds after which an old lease is revoked although a connection is still lent."""
YOUNG = 1.0
"""Seconds in which a dead credential is not replaced: the fault is then not its age."""

log = structlog.get_logger("todo.credentials")


class Source(Protocol):
    """Where credentials come from: a login to Vault, or a fixed password."""

    def keep(self, seconds: float) -> None:
        """Make the login outlast `seconds`."""

    def credential(self) -> Credential:
        """Return a new credential."""

    def revoke(self, credential: Credential) -> None:
        """End a credential."""

    def ping(self) -> None:
        """Ask for a sign of life."""

    def close(self, timeout: float) -> None:
        """End the login and all that came of it."""


@dataclass(frozen=True)
class Fixed:
    """One user and password for ever: the service as it would be without Vault."""

    user: str
    password: str = field(repr=False)

    def keep(self, seconds: float) -> None:
        """Do nothing: there is no login."""

    def credential(self) -> Credential:
        """Return the one credential there is."""
        return Credential(self.user, self.password, issued=time.monotonic())

    def revoke(self, credential: Credential) -> None:
        """Do nothing: there is no lease."""

    def ping(self) -> None:
        """Do nothing: there is nobody to ask."""

    def close(self, timeout: float) -> None:
        """Do nothing: there is no login."""


def source(settings: Settings, vault: Watcher | None) -> Source:
    """Return where credentials come from."""
    if vault is None:
        assert settings.database_user is not None
        return Fixed(settings.database_user, settings.fixed_password().get_secret_value())
    assert settings.role_id is not None
    assert settings.secret_id_file is not None
    return Session(
        vault.all,
        AppRole(settings.approle_mount, settings.role_id, settings.secret_id_file),
        f"{settings.database_mount}/creds/{settings.database_role}",
    )


def rotation_at(credential: Credential, share: float) -> float:
    """Return when to ask for the next credential; `share` in 0..1 picks the point in the window."""
    return credential.issued + credential.duration * (EARLY + (LATE - EARLY) * share)


def pause(failures: int, share: float) -> float:
    """Return the seconds to wait after the n-th failure in a row: capped, with full jitter.

    Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. A tenth of a second
    stays at the lower end, so that a lucky draw is not a busy loop.
    """
    top = min(BACKOFF[1], BACKOFF[0] * 2 ** min(failures - 1, 10))
    return 0.1 + (top - 0.1) * share


@dataclass(frozen=True)
class Retired:
    """A pool that another one took over from; its lease is to be revoked once it is drained."""

    pool: Pool
    since: float

    def due(self, now: float) -> bool:
        """Whether its last connection is back, or has had its time."""
        age = now - self.since
        return age >= PATIENCE or (age >= GRACE and self.pool.busy == 0)


class Rotation:
    """Keeps the database supplied with a credential that is alive."""

    def __init__(
        self,
        source: Source,
        on_vault_loss: Literal["hold", "fail"],
        on_refusal: Callable[[RefusalError], None],
    ) -> None:
        """Prepare; call `start` with the database. `on_refusal` ends the process."""
        self._source = source
        self._mode = on_vault_loss
        self._on_refusal = on_refusal
        self._database: Database
        self._retired: list[Retired] = []
        self._rotate_at = 0.0
        self._asked_at = 0.0
        self._lease = 0.0
        self._failures = 0
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self._stopping = False
        self.vault_reachable = False
        self.proved = threading.Event()
        """Set once the first credential has read the table."""
        self._thread = threading.Thread(target=self._run, name="credentials", daemon=True)

    def start(self, database: Database) -> None:
        """Begin to supply `database`."""
        self._database = database
        self._thread.start()

    @property
    def late(self) -> bool:
        """Whether the next credential is overdue: the last attempt to get it failed."""
        return self._failures > 0

    def fresh(self, dead: Credential, timeout: float) -> bool:
        """Wait up to `timeout` seconds for another credential than `dead`; False if none came."""
        with self._changed:
            if self._is_other(dead):
                return True
            if time.monotonic() - dead.issued < YOUNG:
                return False
            self._rotate_at = 0.0
            self._wake.set()
            return self._changed.wait_for(lambda: self._is_other(dead), timeout)

    def stop(self, timeout: float) -> None:
        """End the thread, then the login, within `timeout` seconds."""
        begin = time.monotonic()
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout / 2)
        try:
            self._source.close(max(0.2, timeout - (time.monotonic() - begin)))
        except AWAY as error:
            log.warning("login_not_ended", error=type(error).__name__, remedy="it ends by itself")

    def _is_other(self, dead: Credential) -> bool:
        pool = self._database.pool
        return pool is not None and pool.credential is not dead

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._turn()
            except RefusalError as refusal:
                self._on_refusal(refusal)
                return
            except AWAY as error:
                self._failed(error, away=_out_of_reach(error))
            except pymysql.Error as error:
                self._failed(error, away=False)
            except Exception as error:  # without this thread the service dies within a lease
                log.error("rotation_fault", exc_info=error)
                self._failed(error, away=False)
            self._end_of_lease()
            self._sleep()

    def _turn(self) -> None:
        """Do what is due: stay logged in, rotate, revoke what is drained, give a sign of life."""
        now = time.monotonic()
        self._source.keep(self._lease)
        if now >= self._rotate_at:
            self._rotate()
        for old in [old for old in self._retired if old.due(now)]:
            self._asked_at = now
            self._source.revoke(old.pool.credential)
            old.pool.close()
            self._retired.remove(old)
            log.info("credential_revoked", user=old.pool.credential.user)
        if self._failures or now - self._asked_at >= PING:
            self._asked_at = now
            self._source.ping()
        self.vault_reachable = True
        self._failures = 0

    def _rotate(self) -> None:
        self._asked_at = time.monotonic()
        new = self._source.credential()
        self._lease = 0.0 if new.lease is None else new.duration
        try:
            old = self._database.adopt(new)
        except (pymysql.Error, NoInstanceError):
            self._source.revoke(new)
            raise
        self._rotate_at = rotation_at(new, random.random())
        if old is not None:
            self._retired.append(Retired(old, time.monotonic()))
        with self._changed:
            self._changed.notify_all()
        log.info(
            "credential_in_use",
            user=new.user,
            seconds=None if new.lease is None else new.duration,
        )
        self.proved.set()

    def _failed(self, error: Exception, away: bool) -> None:
        self._failures += 1
        self.vault_reachable = not away
        log.warning(
            "no_fresh_credential",
            error=type(error).__name__,
            reason=_in_words(error),
            attempt=self._failures,
            vault_reachable=self.vault_reachable,
        )

    def _end_of_lease(self) -> None:
        """In mode `fail`, drop the credential when its lease is over."""
        pool = self._database.pool
        if self._mode == "fail" and pool and time.monotonic() >= pool.credential.expires:
            self._database.drop("the lease of the database credential is over and Vault is away")
            log.error("credential_dropped", user=pool.credential.user)

    def _sleep(self) -> None:
        """Wait until something is due; a request whose credential died cuts it short."""
        now = time.monotonic()
        if self._failures:
            until = now + pause(self._failures, random.random())
            # However many requests ask: no more than three attempts a second.
            time.sleep(0.3 if self._failures > 1 else 0.0)
        else:
            until = min(self._rotate_at, self._asked_at + PING)
            if self._retired:
                until = min(until, now + GRACE / 2)
        pool = self._database.pool
        if self._mode == "fail" and pool:
            until = min(until, pool.credential.expires)
        self._wake.wait(max(0.0, until - time.monotonic()))
        self._wake.clear()


def _in_words(error: Exception) -> str:
    """Say why there is no fresh credential; requests' own texts are long and full of addresses."""
    if isinstance(error, pymysql.Error):
        return reason(error)
    if isinstance(error, requests.RequestException):
        return "Vault cannot be reached"
    return str(error)[:200]


def _out_of_reach(error: Exception) -> bool:
    """Whether a failure means that Vault itself cannot be reached, or is sealed."""
    if isinstance(error, NoInstanceError):
        return error.service == "vault"
    return isinstance(error, requests.RequestException | VaultDown)
