"""What /health says: whether this instance can serve, and what it found. Nothing secret."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import anyio
import anyio.to_thread
from pydantic import BaseModel, Field

from todo.credentials import Rotation
from todo.database import HEALTH_TIMEOUT, Database, Pool
from todo.mysql import DENIED, FAILURES, number, reason

ANSWER_WITHIN = HEALTH_TIMEOUT + 0.15
"""Seconds to the answer of /health, whatever the database does; Consul waits one second."""


class DatabaseHealth(BaseModel):
    """What the database said."""

    ok: bool | None = Field(description="null: it was not asked (shallow health)")
    milliseconds: float | None = None
    reason: str | None = None


class CredentialHealth(BaseModel):
    """How old the database credential is, in seconds. A fixed password has no end."""

    user: str
    age: float
    expires_in: float | None = Field(description="negative: held on to, while Vault is away")


class VaultHealth(BaseModel):
    """Whether Vault answered the last time it was asked."""

    reachable: bool


class Health(BaseModel):
    """The state of this instance."""

    status: Literal["passing", "degraded", "failing", "starting", "draining"]
    instance: str
    degraded: bool = Field(description="it serves, but something behind it does not")
    database: DatabaseHealth
    credential: CredentialHealth | None
    vault: VaultHealth | None


@dataclass
class Checker:
    """Answers /health for one instance."""

    instance: str
    deep: bool
    database: Database
    rotation: Rotation
    with_vault: bool
    draining: bool = False

    def __post_init__(self) -> None:
        """Give the database question a thread of its own, which a busy service cannot take."""
        self._one_at_a_time = anyio.CapacityLimiter(1)

    async def answer(self) -> tuple[int, dict[str, Any]]:
        """Return the status code (200 or 503) and the body."""
        pool = self.database.pool
        database = await self._ask(pool)
        vault_lost = self.with_vault and (not self.rotation.vault_reachable or self.rotation.late)
        status: str
        if self.draining:
            status = "draining"
        elif not self.rotation.proved.is_set():
            status = "starting"
        elif database.ok is False:
            status = "failing"
        else:
            status = "degraded" if vault_lost else "passing"
        body = Health.model_construct(
            status=status,
            instance=self.instance,
            degraded=vault_lost,
            database=database,
            credential=_credential(pool),
            vault=VaultHealth(reachable=self.rotation.vault_reachable) if self.with_vault else None,
        )
        return (200 if status in ("passing", "degraded") else 503), body.model_dump()

    async def _ask(self, pool: Pool | None) -> DatabaseHealth:
        if not self.deep:
            return DatabaseHealth(ok=None)
        if pool is None:
            return DatabaseHealth(ok=False, reason=self.database.why)
        begin = time.perf_counter()
        try:
            with anyio.fail_after(ANSWER_WITHIN):
                await anyio.to_thread.run_sync(
                    self._prove, pool, abandon_on_cancel=True, limiter=self._one_at_a_time
                )
        except TimeoutError:
            return DatabaseHealth(ok=False, reason="the database does not answer in time")
        except FAILURES as error:
            return DatabaseHealth(ok=False, reason=reason(error))
        return DatabaseHealth(ok=True, milliseconds=_round((time.perf_counter() - begin) * 1000))

    def _prove(self, pool: Pool) -> None:
        """Read the table; with a dead credential ask for a fresh one and read again.

        An instance that Consul took out gets no requests: its health check is the only one
        left to notice. Raises one of `FAILURES`.
        """
        try:
            pool.prove()
        except FAILURES as error:
            fresh = number(error) in DENIED and self.rotation.fresh(pool.credential, HEALTH_TIMEOUT / 2)
            if not fresh or self.database.pool is None:
                raise
            self.database.pool.prove()


def _credential(pool: Pool | None) -> CredentialHealth | None:
    if pool is None:
        return None
    now = time.monotonic()
    credential = pool.credential
    ends = None if credential.lease is None else _round(credential.expires - now)
    return CredentialHealth(user=credential.user, age=_round(now - credential.issued), expires_in=ends)


def _round(value: float) -> float:
    return round(value, 2)
