"""What users get: secrets and credentials of Vault, directly or where discovery sends them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from helpers import wire
from helpers.probes.asking import One, Place, within
from helpers.probes.view import View
from helpers.rows import error_of
from helpers.schedule import Reading


@dataclass
class Token:
    """A secret in a file, read anew when the file changes; None while there is none."""

    path: Path
    _read_at: int = field(default=-1, init=False)
    _text: str | None = field(default=None, init=False)

    def read(self) -> str | None:
        """Return the token."""
        try:
            changed = self.path.stat().st_mtime_ns
            if changed != self._read_at:
                self._text, self._read_at = self.path.read_text().strip(), changed
        except OSError:
            self._text, self._read_at = None, -1
        return self._text


class User(One):
    """Base of the probes that do what a user does: directly, or where discovery sends them."""

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, tag: str = "") -> None:
        """Ask the node `target`, or with a `view` a random passing instance of that service."""
        self.target = target
        self.timeout = timeout
        self.place = place
        self.view = view
        self._tag = tag

    def choose(self) -> str:
        """Return the node to ask; empty when discovery offers none."""
        if self.view is None:
            return self.target
        offered = self.view.passing(self.target, self._tag)
        return random.choice(offered) if offered else ""

    def nowhere(self) -> list[Reading]:
        """Discovery offers nobody: the user fails, and the error says which way."""
        assert self.view is not None
        return self.silence("", "", "servfail" if self.view.raw is None else "nxdomain")

    def read(self, chosen: str, reply: wire.Reply | None, error: str) -> list[Reading]:
        """Return the reading of the operation's last answer."""
        if reply is None:
            return self.silence(chosen, "", error)
        raw = str(reply.status) if chosen == self.target else f"{reply.status} @{chosen}"
        return [Reading(self.target, self.check, raw, error)]


class VaultUser(User):
    """Base of the probes that do with a token what a user of Vault does."""

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, token: Token) -> None:
        """Ask with this token."""
        super().__init__(target, place, timeout, view, "active")
        self._token = token

    async def ask(self, chosen: str) -> list[Reading]:
        """Raw is the status code; through discovery with the instance behind it."""
        token = self._token.read()
        if token is None:
            return self.silence(chosen, "no token", "other")
        if not chosen:
            return self.nowhere()
        address, port = self.place.address[chosen], self.place.ports["vault"]
        return self.read(chosen, *await within(self.timeout, self._operation(address, port, token)))

    async def _operation(self, address: str, port: int, token: str) -> wire.Reply:
        raise NotImplementedError


class Secret(VaultUser):
    """Whether a secret can be written: a put into the token's own cubbyhole.

    It needs no mount, goes to the storage, and a standby forwards it; a Vault that has lost
    its Consul fails it while `/v1/sys/health` still says 200.
    """

    source = "secret"
    check = "write"

    def __init__(self, target: str, place: Place, timeout: float, view: View | None, token: Token) -> None:
        """Write with this token."""
        super().__init__(target, place, timeout, view, token)
        self._values = count()

    async def _operation(self, address: str, port: int, token: str) -> wire.Reply:
        body = json.dumps({"value": next(self._values)}).encode()
        return await wire.ask(address, port, "PUT", f"/v1/cubbyhole/{self.target}", body, token)


class Credential(VaultUser):
    """Whether a fresh database credential can be had: issued, then revoked at once.

    Its code is that of the issue, or of the revocation if only that one fails.
    """

    source = "credential"
    check = "creds"

    def __init__(self, place: Place, timeout: float, view: View, token: Token, path: str) -> None:
        """Read `path`, such as `mysql/creds/todo`, at the active Vault."""
        super().__init__("vault", place, timeout, view, token)
        self._path = path

    async def _operation(self, address: str, port: int, token: str) -> wire.Reply:
        issued = await wire.ask(address, port, "GET", f"/v1/{self._path}", b"", token)
        if issued.status != 200:
            return issued
        lease = json.dumps({"lease_id": json.loads(issued.body)["lease_id"]}).encode()
        revoked = await wire.ask(address, port, "PUT", "/v1/sys/leases/revoke", lease, token)
        return issued if error_of(revoked.status) == "none" else revoked
