"""When a credential is replaced, and what happens when Vault is away."""

import threading
import time
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import requests
from hvac.exceptions import Forbidden

from todo import credentials
from todo.credentials import BACKOFF, EARLY, LATE, Retired, Rotation, pause, rotation_at
from todo.errors import EXIT_REFUSED, NoInstanceError, RefusalError
from todo.vault import Credential


def credential(duration: float = 60.0, issued: float | None = None) -> Credential:
    now = time.monotonic() if issued is None else issued
    return Credential("user", "password", issued=now, duration=duration, lease="lease")


def test_the_next_credential_is_due_at_55_to_70_percent_of_the_lease() -> None:
    one = credential(60.0, issued=100.0)
    assert rotation_at(one, 0.0) == pytest.approx(100 + 60 * EARLY) == pytest.approx(133)
    assert rotation_at(one, 1.0) == pytest.approx(100 + 60 * LATE) == pytest.approx(142)


def test_a_fixed_password_is_never_due() -> None:
    assert rotation_at(Credential("user", "password", issued=0.0), 1.0) == float("inf")


def test_the_pause_after_a_failure_grows_and_is_capped() -> None:
    assert [pause(n, 1.0) for n in (1, 2, 3, 4, 5, 1000)] == [0.5, 1.0, 2.0, 4.0, 5.0, BACKOFF[1]]
    assert pause(1, 0.0) == pause(1000, 0.0) == pytest.approx(0.1)


def test_an_old_lease_is_revoked_when_its_pool_is_drained_or_had_its_time() -> None:
    pool: Any = SimpleNamespace(busy=1)
    old = Retired(pool, since=100.0)
    assert not old.due(102.0)
    assert old.due(110.0)
    pool.busy = 0
    assert not old.due(100.5)
    assert old.due(101.0)


def test_a_password_shows_in_no_repr() -> None:
    assert "password" not in repr(credential()).replace("user='user'", "")
    assert "password'" not in repr(credentials.Fixed("user", "the password'"))


class Vault:
    """A source of credentials that can be switched off."""

    def __init__(self, duration: float = 60.0) -> None:
        self.duration = duration
        self.away: Exception | None = None
        self.issued: list[Credential] = []
        self.revoked: list[Credential] = []
        self.closed = False

    def keep(self, seconds: float) -> None:
        """The login lasts; nobody is asked."""

    def _ask(self) -> None:
        if self.away:
            raise self.away

    def credential(self) -> Credential:
        self._ask()
        self.issued.append(credential(self.duration))
        return self.issued[-1]

    def revoke(self, old: Credential) -> None:
        self.revoked.append(old)

    def ping(self) -> None:
        self._ask()

    def close(self, timeout: float) -> None:
        self.closed = True


class Database:
    """Takes credentials and says so."""

    def __init__(self) -> None:
        self.pool: Any = None
        self.dropped = threading.Event()
        self.fail: Exception | None = None

    def adopt(self, new: Credential) -> Any:
        if self.fail:
            raise self.fail
        old, self.pool = self.pool, SimpleNamespace(credential=new, busy=0, close=lambda: None)
        return old

    def drop(self, why: str) -> None:
        self.pool = None
        self.dropped.set()


@pytest.fixture
def rotations() -> Any:
    started: list[Rotation] = []

    def start(vault: Vault, mode: Literal["hold", "fail"] = "hold") -> tuple[Rotation, Database, list[Any]]:
        refusals: list[Any] = []
        rotation, database = Rotation(vault, mode, refusals.append), Database()
        started.append(rotation)
        rotation.start(database)  # type: ignore[arg-type]
        return rotation, database, refusals

    yield start
    for rotation in started:
        rotation.stop(1.0)


def until(what: Any, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.01)
    return False


def test_credentials_are_replaced_before_they_end_and_the_old_ones_revoked(rotations: Any) -> None:
    vault = Vault(duration=0.4)
    _, database, _ = rotations(vault)
    assert until(lambda: len(vault.issued) >= 4)
    for one, following in zip(vault.issued, vault.issued[1:], strict=False):
        assert following.issued < one.expires, "there is always a live credential"
    assert until(lambda: vault.issued[0] in vault.revoked)
    assert database.pool.credential not in vault.revoked


def test_hold_keeps_the_credential_after_its_end_and_fresh_does_not_block(rotations: Any) -> None:
    vault = Vault(duration=0.3)
    rotation, database, _ = rotations(vault)
    assert rotation.proved.wait(5)
    vault.away = requests.ConnectionError()
    assert until(lambda: not rotation.vault_reachable)
    held = database.pool.credential
    assert until(lambda: time.monotonic() > held.expires + 0.3)
    assert database.pool.credential is held
    assert not database.dropped.is_set()


def test_vault_counts_as_reachable_again_only_after_an_answer(
    rotations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long leases: nothing is due, only the sign of life finds out."""
    monkeypatch.setattr(credentials, "PING", 0.2)
    vault = Vault(duration=600)
    rotation, _, _ = rotations(vault)
    assert until(lambda: rotation.vault_reachable)
    vault.away = requests.ConnectionError()
    assert until(lambda: not rotation.vault_reachable)
    monkeypatch.setattr(credentials, "PING", 600.0)
    assert not until(lambda: rotation.vault_reachable, 1.5), "nobody has answered"
    vault.away = None
    assert until(lambda: rotation.vault_reachable, 6)


def test_a_fault_of_the_program_does_not_end_the_rotation(rotations: Any) -> None:
    vault = Vault()
    vault.away = KeyError("lease_id")
    rotation, _, _ = rotations(vault)
    assert until(lambda: rotation.late)
    vault.away = None
    assert rotation.proved.wait(5)


def test_fail_drops_the_credential_at_the_end_of_its_lease(rotations: Any) -> None:
    vault = Vault(duration=0.5)
    rotation, database, _ = rotations(vault, "fail")
    assert rotation.proved.wait(5)
    vault.away = requests.ConnectionError()
    assert database.dropped.wait(5)
    assert time.monotonic() >= vault.issued[-1].expires
    vault.away = None
    assert until(lambda: database.pool is not None), "Vault is back: it serves again"


def test_a_request_whose_credential_died_gets_a_fresh_one_at_once(
    rotations: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "YOUNG", 0.0)
    rotation, database, _ = rotations(Vault(duration=600))
    assert rotation.proved.wait(5)
    dead = database.pool.credential
    assert rotation.fresh(dead, 5.0)
    assert database.pool.credential is not dead
    assert rotation.fresh(dead, 0.0), "somebody else already replaced it: nothing to wait for"


def test_a_credential_that_dies_young_is_not_replaced_over_and_over(rotations: Any) -> None:
    vault = Vault(duration=600)
    rotation, database, _ = rotations(vault)
    assert rotation.proved.wait(5)
    assert not rotation.fresh(database.pool.credential, 5.0)
    assert len(vault.issued) == 1


def test_a_credential_that_cannot_be_proved_is_given_back(rotations: Any) -> None:
    vault = Vault()
    rotation, database, _ = rotations(vault)
    assert rotation.proved.wait(5)
    held = database.pool.credential
    database.fail = NoInstanceError("mysql")
    rotation._rotate_at = 0.0
    rotation._wake.set()
    assert until(lambda: len(vault.revoked) >= 1)
    assert vault.revoked[0] is vault.issued[1]
    assert database.pool.credential is held
    assert rotation.vault_reachable, "MySQL is missing, Vault is not"


def test_a_refused_secret_id_ends_the_process(rotations: Any) -> None:
    vault = Vault()
    vault.away = RefusalError("ALARM", EXIT_REFUSED)
    _, _, refusals = rotations(vault)
    assert until(lambda: refusals)
    assert refusals[0].exit_code == EXIT_REFUSED


def test_an_answer_that_is_no_from_vault_is_still_an_answer(rotations: Any) -> None:
    vault = Vault()
    vault.away = Forbidden("permission denied")
    rotation, _, _ = rotations(vault)
    assert until(lambda: rotation.late)
    assert rotation.vault_reachable
    assert not rotation.proved.is_set()
