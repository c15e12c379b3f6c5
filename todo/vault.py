"""This service's login to Vault: unwrap the secret id once, log in, stay logged in.

Not for more than one thread: whoever holds a `Session` is its only user. Facts used here:
a token of Vault takes all its leases along when it ends (Vault's documentation, "Lease"), so
the token has to outlive every database credential it gave out; a response-wrapping token
works once (Vault's documentation, "Response wrapping"), so a second use is an alarm.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import hvac
import requests
import structlog
from hvac.exceptions import Forbidden, InvalidRequest, VaultDown, VaultError

from todo.discovery import Instance
from todo.errors import EXIT_REFUSED, NoInstanceError, RefusalError

TIMEOUT = (1.0, 5.0)
"""Seconds to connect to Vault, seconds to its answer."""
MARGIN = 10.0
"""Seconds that the token must outlive a lease at least."""
AWAY = (VaultError, requests.RequestException, NoInstanceError)
"""What a call may raise while Vault is away, sealed, or without its own parts."""

T = TypeVar("T")
log = structlog.get_logger("todo.vault")


@dataclass(frozen=True)
class Credential:
    """A user of the database for the time of one lease. Times are of `time.monotonic`."""

    user: str
    password: str = field(repr=False)
    issued: float
    duration: float = float("inf")
    """Seconds of the lease; a fixed password never ends."""
    lease: str | None = field(default=None, repr=False)

    @property
    def expires(self) -> float:
        """When the lease ends."""
        return self.issued + self.duration


@dataclass(frozen=True)
class AppRole:
    """The two halves of this instance's proof of who it is."""

    mount: str
    role_id: str
    secret_id_file: Path
    """Holds the wrapping token of the secret id."""


class Session:
    """A login by AppRole, with the token that came of it."""

    def __init__(self, instances: Callable[[], list[Instance]], approle: AppRole, credentials: str) -> None:
        """Prepare; nothing is asked of Vault yet.

        `instances` names where Vault is now, `credentials` the path that gives database users.
        """
        self._instances = instances
        self._approle = approle
        self._credentials = credentials
        self._secret_id: str | None = None
        self._token = ""
        self._period = 0.0
        self._ends = 0.0

    def keep(self, seconds: float) -> None:
        """Make the login last `seconds` from now at least: log in, renew, or log in anew.

        Raises one of `AWAY`, or `RefusalError` when the secret id cannot be had.
        """
        if not self._token:
            self._login()
            return
        left = self._ends - time.monotonic()
        if left > max(self._period / 2, seconds + MARGIN):
            return
        try:
            self._lasts(self._call(lambda c: c.auth.token.renew_self())["auth"])
        except Forbidden:
            log.warning("token_gone", remedy="logging in again")
            self._login()
            return
        if self._ends - time.monotonic() < seconds + MARGIN and self._period > seconds + MARGIN:
            # The token has come to its maximum. The old one, and its leases, end by themselves.
            self._login()

    def credential(self) -> Credential:
        """Ask for a new user of the database. Raises one of `AWAY` or `RefusalError`.

        A token that Vault no longer knows (it was away, and cleaned up on its return) is
        replaced by a new login first, once.
        """
        try:
            answer = self._issue()
        except Forbidden:
            self._login()
            answer = self._issue()
        return Credential(
            user=answer["data"]["username"],
            password=answer["data"]["password"],
            issued=time.monotonic(),
            duration=float(answer["lease_duration"]),
            lease=answer["lease_id"],
        )

    def revoke(self, credential: Credential) -> None:
        """End a credential's lease, which drops its user. Raises one of `AWAY`.

        A policy that lets a token revoke leases lets it revoke everybody's. Without that right
        the lease is renewed for one second, which every token may (policy `default`). A lease
        that Vault does not know any more is over already.
        """
        if credential.lease:
            lease = credential.lease
            try:
                try:
                    self._call(lambda c: c.sys.revoke_lease(lease))
                except Forbidden:
                    self._call(lambda c: c.sys.renew_lease(lease, increment=1))
            except InvalidRequest:
                log.info("lease_over_already", user=credential.user)

    def ping(self) -> None:
        """Ask Vault for a sign of life. Raises one of `AWAY`."""
        self._call(lambda c: c.sys.read_health_status(method="GET", standby_ok=True))

    def close(self, timeout: float) -> None:
        """Revoke the token within `timeout` seconds; Vault drops its database users with it."""
        if self._token:
            token, self._token = self._token, ""
            self._call(lambda c: c.auth.token.revoke_self(), token=token, timeout=timeout)
            log.info("logged_out")

    def _issue(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._call(lambda c: c.read(self._credentials))
        return answer

    def _login(self) -> None:
        if self._secret_id is None:
            self._secret_id = self._unwrap()
        secret_id = self._secret_id
        try:
            answer = self._call(
                lambda c: c.auth.approle.login(
                    self._approle.role_id,
                    secret_id,
                    use_token=False,
                    mount_point=self._approle.mount,
                ),
                token="",
            )
        except InvalidRequest as error:
            if self._token:
                log.error("alarm_login_refused", reason="Vault no longer takes the secret id")
                raise
            raise RefusalError(
                "ALARM: Vault refuses the role id or the secret id of this instance; "
                "have a new secret id delivered.",
                EXIT_REFUSED,
            ) from error
        self._token = answer["auth"]["client_token"]
        self._lasts(answer["auth"])
        log.info("logged_in", seconds=self._period)

    def _lasts(self, auth: dict[str, Any]) -> None:
        self._period = float(auth["lease_duration"])
        self._ends = time.monotonic() + self._period

    def _unwrap(self) -> str:
        """Exchange the wrapping token in the file for the secret id, and remove the file.

        The token's origin is looked up first: one that was not made for a secret id of our
        AppRole mount was put there by somebody else.
        """
        file = self._approle.secret_id_file
        try:
            token = file.read_text().strip()
        except OSError as error:
            raise RefusalError(
                f"The secret id's file {file} cannot be read ({error.strerror}).",
                EXIT_REFUSED,
            ) from error
        try:
            found = self._call(lambda c: c.write_data("sys/wrapping/lookup", data={"token": token}), token="")
            origin = found["data"]["creation_path"]
            if not re.fullmatch(rf"auth/{re.escape(self._approle.mount)}/role/[^/]+/secret-id", origin):
                raise RefusalError(
                    f"ALARM: the wrapping token in {file} was not made for a secret id but "
                    f"for {origin}; somebody put it there.",
                    EXIT_REFUSED,
                )
            # The token goes into the header, and only there: in the body as well, it is used twice.
            answer = self._call(lambda c: c.sys.unwrap(), token=token)
        except (InvalidRequest, Forbidden) as error:
            raise RefusalError(
                f"ALARM: the wrapping token in {file} was used before, has expired or is "
                "not valid. Somebody else may hold this instance's secret id: revoke it, find out, "
                "then have a new one delivered.",
                EXIT_REFUSED,
            ) from error
        file.unlink(missing_ok=True)
        log.info("secret_id_unwrapped")
        secret_id: str = answer["data"]["secret_id"]
        return secret_id

    def _call(
        self,
        ask: Callable[[hvac.Client], T],
        token: str | None = None,
        timeout: float | None = None,
    ) -> T:
        """Ask the active Vault, and the others only when it cannot be reached."""
        failed: Exception | None = None
        # The sort is stable: the active one first, the others in discovery's random order.
        for instance in sorted(self._instances(), key=lambda i: "active" not in i.tags):
            http = requests.Session()
            http.trust_env = False
            client = hvac.Client(
                f"http://{instance.address}:{instance.port}",
                token=self._token if token is None else token,
                timeout=(min(timeout, TIMEOUT[0]), timeout) if timeout else TIMEOUT,
                session=http,
            )
            try:
                return ask(client)
            except (requests.ConnectionError, VaultDown) as error:
                failed = error
            finally:
                http.close()
        assert failed is not None
        raise failed
